"""Hostile bytes: each file ends in views or in a reason code, never in another error, and soon."""

import struct
import zlib

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from stream.decode import decode
from stream.decode_formats import sniff
from stream.errors import CannotEvaluate
from stream.reasons import Reason
from stream.types import Views
from tests.unit.picture_files import LIMITS, VIEWS, every_format, photo, png, png_chunk, png_from, save

FILES = every_format()
EXPECTED = {
    Reason.TRUNCATED,
    Reason.CORRUPT,
    Reason.UNSUPPORTED_FORMAT,
    Reason.TOO_MANY_PIXELS,
    Reason.TOO_MANY_FRAMES,
    Reason.TOO_SMALL,
    Reason.BLANK,
}


def outcome(data: bytes) -> Views | Reason:
    try:
        return decode(data, VIEWS, LIMITS)
    except CannotEvaluate as error:
        return error.reason


@pytest.mark.parametrize("kind", FILES)
def test_a_file_cut_anywhere(kind: str) -> None:
    data = FILES[kind]
    whole = outcome(data)
    assert isinstance(whole, Views)
    for cut in [*range(1, 64), *np.linspace(64, len(data) - 1, 60, dtype=int).tolist()]:
        found = outcome(data[:cut])
        if isinstance(found, Views):  # only what is not needed for the first picture was lost
            assert cut > len(data) // 2
        else:
            assert found in {Reason.TRUNCATED, Reason.CORRUPT, Reason.UNSUPPORTED_FORMAT, Reason.BLANK}


@pytest.mark.parametrize("kind", FILES)
def test_a_file_that_ends_in_the_middle_is_called_truncated(kind: str) -> None:
    data = FILES[kind]
    # A TIFF keeps its directory behind its pixels: without it there is nothing to tell by.
    expected = {Reason.TRUNCATED, Reason.CORRUPT} if kind.startswith("TIFF") else {Reason.TRUNCATED}
    assert outcome(data[: len(data) // 2]) in expected


@settings(max_examples=400, deadline=None, derandomize=True)
@given(
    kind=st.sampled_from(sorted(FILES)),
    edits=st.lists(st.tuples(st.floats(0, 1, exclude_max=True), st.integers(0, 255)), min_size=1, max_size=8),
    early=st.booleans(),
)
def test_mutated_files(kind: str, edits: list[tuple[float, int]], early: bool) -> None:
    data = bytearray(FILES[kind])
    reach = min(200, len(data)) if early else len(data)  # headers break more than pixels do
    for where, value in edits:
        data[int(where * reach)] = value
    found = outcome(bytes(data))
    assert isinstance(found, Views) or found in EXPECTED


@settings(max_examples=150, deadline=None, derandomize=True)
@given(
    kind=st.sampled_from(sorted(FILES)),
    start=st.floats(0, 1),
    length=st.integers(1, 400),
    paste=st.binary(max_size=400),
)
def test_spliced_files(kind: str, start: float, length: int, paste: bytes) -> None:
    data = FILES[kind]
    at = int(start * len(data))
    found = outcome(data[:at] + paste + data[at + length :] or b"\0")
    assert isinstance(found, Views) or found in EXPECTED


@settings(max_examples=150, deadline=None, derandomize=True)
@given(magic=st.sampled_from([data[:12] for data in FILES.values()]), rest=st.binary(max_size=600))
def test_a_magic_number_and_noise(magic: bytes, rest: bytes) -> None:
    found = outcome(magic + rest)
    assert isinstance(found, Views) or found in EXPECTED


def test_zero_bytes() -> None:
    assert outcome(b"") == Reason.EMPTY_FILE


@pytest.mark.parametrize(
    "data",
    [
        b"\0",
        b"\0" * 5000,
        b"<svg xmlns='http://www.w3.org/2000/svg' width='10' height='10'/>",
        b"<?xml version='1.0'?><svg/>",
        b"<!doctype html><img src=x>",
        b"%PDF-1.7\n%\xe2\xe3\xcf\xd3\n",
        b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 10 10\n",
        b"8BPS\0\1" + b"\0" * 100,
        b"P6 10 10 255\n" + b"x" * 300,
        b"PK\3\4" + b"\0" * 100,
        b"\0\0\0\x20ftypisom\0\0\2\0isomiso2avc1mp41" + b"\0" * 64,
        b"\0\0\0\x18ftypheic\0\0\0\0mif1heic" + b"\0" * 64,
        b"\x1aE\xdf\xa3" + b"\0" * 64,
        b"RIFF\x24\0\0\0WAVEfmt " + b"\0" * 64,
        b"\0\0\1\0\1\0\x10\x10" + b"\0" * 64,
        b"\0\0\0\x0cJXL \r\n\x87\n" + b"\0" * 64,
        b"\x7fELF" + b"\0" * 64,
        b"#!/bin/sh\n",
        save(Image.fromarray(photo()), "PPM"),
        save(Image.fromarray(photo()), "ICO"),
        save(Image.fromarray(photo()), "JPEG2000"),
        save(Image.fromarray(photo()), "EPS"),
        save(Image.fromarray(photo()), "PDF"),
    ],
    ids=lambda data: repr(data[:12]),
)
def test_other_formats_are_not_read(data: bytes) -> None:
    assert outcome(data) == Reason.UNSUPPORTED_FORMAT


def test_the_contents_tell_the_format() -> None:
    assert {kind: sniff(data) for kind, data in FILES.items()} == {kind: kind.split()[0] for kind in FILES}


@pytest.mark.parametrize(
    ("width", "height"), [(60_000, 60_000), (2**31 - 1, 1), (1, 2**31 - 1), (2**31 - 1, 2**31 - 1)]
)
def test_giant_dimensions_in_a_png(width: int, height: int) -> None:
    assert outcome(png(width, height, 8, 2, b"\0" * 100)) == Reason.TOO_MANY_PIXELS


def test_a_png_without_width_is_corrupt() -> None:
    assert outcome(png(0, 10, 8, 2, b"\0" * 100)) in {Reason.CORRUPT, Reason.TRUNCATED}


def test_giant_dimensions_in_other_headers() -> None:
    jpeg = bytearray(FILES["JPEG"])
    at = jpeg.index(b"\xff\xc0")
    jpeg[at + 5 : at + 9] = struct.pack(">HH", 65500, 65500)
    gif = bytearray(FILES["GIF"])
    gif[6:10] = struct.pack("<HH", 65535, 65535)
    bmp = bytearray(FILES["BMP"])
    bmp[18:26] = struct.pack("<ii", 2**31 - 1, 2**31 - 1)
    webp = b"VP8X\x0a\0\0\0\0\0\0\0" + b"\xff\x3f\x00" * 2
    webp = b"RIFF" + struct.pack("<I", len(webp) + 4) + b"WEBP" + webp
    tiff = bytearray(FILES["TIFF"])
    directory = struct.unpack("<I", tiff[4:8])[0]
    for entry in range(directory + 2, directory + 2 + 12 * 4, 12):
        if struct.unpack("<H", tiff[entry : entry + 2])[0] in (256, 257):
            tiff[entry + 2 : entry + 12] = struct.pack("<HII", 4, 1, 2**31)
    for data in (jpeg, gif, bmp, tiff):
        assert outcome(bytes(data)) == Reason.TOO_MANY_PIXELS
    assert outcome(webp) in {Reason.TOO_MANY_PIXELS, Reason.TRUNCATED, Reason.CORRUPT}


def test_png_bombs() -> None:
    rows = b"\0" * (1 + 3 * 5000) * 5000  # 75 MB of black in 75 kB
    assert outcome(png(5000, 5000, 8, 2, rows)) == Reason.TOO_MANY_PIXELS
    text = png_chunk(b"zTXt", b"comment\0\0" + zlib.compress(b"a" * (64 << 20)))
    assert outcome(png_from(photo(), 8, 2, text)) == Reason.CORRUPT
    claims = png_chunk(b"acTL", struct.pack(">II", 2**31 - 1, 0))
    assert outcome(png_from(photo(), 8, 2, claims)) == Reason.TOO_MANY_FRAMES


def gif_with_frames(count: int, width: int = 40, height: int = 40) -> bytes:
    """Frames of one pixel each: 17 bytes a frame."""
    screen = b"GIF89a" + struct.pack("<HH", width, height) + b"\x80\0\0" + b"\xff\0\0\0\xff\0"
    frame = b"\x2c" + struct.pack("<HHHH", 0, 0, 1, 1) + b"\0" + b"\x02\x02\x4c\x01\0"
    return screen + frame * count + b";"


def test_a_gif_of_many_frames_is_counted_no_further_than_the_limit() -> None:
    assert outcome(gif_with_frames(LIMITS.max_frames + 1)) == Reason.TOO_MANY_FRAMES
    assert outcome(gif_with_frames(200_000)) == Reason.TOO_MANY_FRAMES
    found = outcome(gif_with_frames(LIMITS.max_frames))
    assert isinstance(found, Views)
    assert found.facts.frames == LIMITS.max_frames


def test_a_gif_frame_that_enlarges_the_canvas() -> None:
    data = gif_with_frames(2)
    second = data.rindex(b"\x2c")
    grown = data[:second] + b"\x2c" + struct.pack("<HHHH", 0, 0, 60_000, 60_000) + data[second + 9 :]
    assert outcome(grown) == Reason.TOO_MANY_PIXELS


def tiff_chain(pages: int, loop: bool = False) -> bytes:
    """Directories that each point to the next; the last to nothing or back to the first."""
    entries = [
        (256, 4, 40),
        (257, 4, 40),
        (258, 3, 8),
        (259, 3, 1),
        (262, 3, 1),
        (273, 4, 8),
        (277, 3, 1),
        (278, 4, 40),
        (279, 4, 1600),
    ]
    first, size = 8 + 1600, 2 + 12 * len(entries) + 4
    body = b"".join(struct.pack("<HHII", tag, kind, 1, value) for tag, kind, value in entries)
    parts = [b"II*\0", struct.pack("<I", first), bytes(range(256)) * 6 + b"\0" * 64]
    for page in range(pages):
        following = first + (page + 1) * size if page + 1 < pages else (first if loop else 0)
        parts.append(struct.pack("<H", len(entries)) + body + struct.pack("<I", following))
    return b"".join(parts)


def test_tiff_chains() -> None:
    few = outcome(tiff_chain(3))
    assert isinstance(few, Views)
    assert few.facts.frames == 3
    assert outcome(tiff_chain(LIMITS.max_frames + 1)) == Reason.TOO_MANY_FRAMES
    assert outcome(tiff_chain(20_000)) == Reason.TOO_MANY_FRAMES
    looped = outcome(tiff_chain(3, loop=True))
    assert isinstance(looped, Views)
    assert looped.facts.frames == 3


def test_webp_and_avif_bombs() -> None:
    flat = Image.new("L", (4000, 4000))
    assert outcome(save(flat.convert("RGB"), "WEBP", quality=0, method=0)) == Reason.TOO_MANY_PIXELS
    assert outcome(save(flat, "AVIF", quality=0, speed=10)) == Reason.TOO_MANY_PIXELS


@pytest.mark.parametrize("extra", ["GIF", "PNG", "JPEG"])
def test_a_polyglot_is_what_its_first_bytes_say(extra: str) -> None:
    found = outcome(FILES["PNG"] + FILES[extra] + b"PK\3\4<script>")
    assert isinstance(found, Views)
    assert found.facts.format == "PNG"
