"""Decoding: every colour model, orientation and animation against pixels computed here."""

import io
import struct
import warnings
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image, ImageCms

from models.views import render_all
from stream.decode import Limits, decode, spread
from stream.decode_formats import sniff
from stream.demo_pictures import packaged_pictures
from stream.errors import CannotEvaluate, NotApplicable
from stream.reasons import Reason
from stream.types import Views
from tests.unit.picture_files import (
    HEIGHT,
    LIMITS,
    VIEWS,
    WIDTH,
    every_format,
    photo,
    png_chunk,
    png_from,
    save,
)

Pixels = NDArray[np.uint8]


def decoded(data: bytes, **limits: Any) -> Views:
    fields = {name: getattr(LIMITS, name) for name in Limits.__slots__}
    return decode(data, VIEWS, Limits(**{**fields, **limits}))


def assert_shows(data: bytes, expected: Pixels, tolerance: int = 0) -> None:
    """The views are those of `expected`, pixel for pixel (or within a codec's rounding)."""
    views = decoded(data)
    assert (views.facts.height, views.facts.width) == expected.shape[:2]
    wanted = render_all(expected, VIEWS)
    got = views.arrays["global"][0].astype(int)
    assert np.abs(got - wanted["global"].astype(int)).max() <= tolerance
    if tolerance == 0:
        assert (views.arrays["mosaic"][0] == wanted["mosaic"]).all()


def on_white(rgb: Pixels, alpha: NDArray[Any]) -> Pixels:
    share = alpha.astype(float)[..., None] / 255
    return np.rint(rgb * share + 255 * (1 - share)).astype(np.uint8)


LOSSLESS = ["PNG", "BMP", "TIFF", "TIFF deflate", "TIFF lzw", "WEBP lossless"]


@pytest.mark.parametrize("kind", every_format())
def test_every_format_shows_the_picture(kind: str) -> None:
    data = every_format()[kind]
    views = decoded(data)
    assert views.facts.format == kind.split()[0]
    if kind in LOSSLESS:
        assert_shows(data, photo())
    wanted = render_all(photo(), VIEWS)["global"]
    assert np.abs(views.arrays["global"][0].astype(int) - wanted).mean() < 16


def test_photographs_as_pillow_decodes_them_whole() -> None:
    """No scaled decode, no other decoder: the views, and so the scores, do not drift at all."""
    pictures = packaged_pictures()[:12]
    assert {sniff(picture.data) for picture in pictures} >= {"PNG", "WEBP"}
    for picture in pictures:
        with Image.open(io.BytesIO(picture.data)) as opened:
            rgb = opened.convert("RGB")
        assert_shows(picture.data, np.asarray(rgb))
        jpeg = save(rgb, "JPEG", quality=85)
        with Image.open(io.BytesIO(jpeg)) as opened:
            assert_shows(jpeg, np.asarray(opened.convert("RGB")))


def test_a_decode_repeats_to_the_last_byte() -> None:
    for data in every_format().values():
        first, second = decoded(data), decoded(data)
        assert all((first.arrays[name] == second.arrays[name]).all() for name in first.arrays)


@pytest.mark.parametrize("name", ["JPEG", "PNG", "WEBP", "TIFF"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_orientation(name: str, orientation: int) -> None:
    rgb = photo()
    turned = {
        1: rgb,
        2: rgb[:, ::-1],
        3: rgb[::-1, ::-1],
        4: rgb[::-1],
        5: rgb.swapaxes(0, 1),
        6: rgb[::-1].swapaxes(0, 1),
        7: rgb[::-1, ::-1].swapaxes(0, 1),
        8: rgb[:, ::-1].swapaxes(0, 1),
    }[orientation]
    exif = Image.Exif()
    exif[0x0112] = orientation
    every: dict[str, dict[str, Any]] = {
        "JPEG": {"quality": 98, "subsampling": 0},
        "WEBP": {"lossless": True},
    }
    options = every.get(name, {})
    data = save(Image.fromarray(rgb), name, exif=exif, **options)
    assert_shows(data, np.ascontiguousarray(turned), 8 if name == "JPEG" else 0)


@pytest.mark.parametrize(
    "exif", [b"Exif\0\0", b"Exif\0\0II*\0\xff\xff\xff\x7f", b"Exif\0\0MM\0*" + b"\xff" * 40]
)
def test_unreadable_exif_is_no_reason_to_refuse(exif: bytes) -> None:
    data = save(Image.fromarray(photo()), "JPEG", quality=98, subsampling=0, exif=exif)
    assert_shows(data, photo(), 8)


@pytest.mark.parametrize("orientation", [0, 9, 77])
def test_an_orientation_that_does_not_exist_is_ignored(orientation: int) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    assert_shows(save(Image.fromarray(photo()), "PNG", exif=exif), photo())


def test_broken_icc_and_xmp_are_ignored() -> None:
    image = Image.fromarray(photo())
    broken = b"\0\1\2" * 50
    for name in ("JPEG", "PNG", "WEBP", "TIFF"):
        options: dict[str, Any] = {"icc_profile": broken}
        if name != "TIFF":
            options |= {"xmp": b"<x:xmpmeta" + b"\xff" * 100} if name != "PNG" else {}
        options |= {"quality": 98} if name == "JPEG" else {}
        options |= {"lossless": True} if name == "WEBP" else {}
        assert_shows(save(image, name, **options), photo(), 12 if name == "JPEG" else 0)


def test_colour_profiles_are_not_applied() -> None:
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("XYZ")).tobytes()
    assert_shows(save(Image.fromarray(photo()), "PNG", icc_profile=profile), photo())


def test_alpha_lies_on_white() -> None:
    alpha = np.linspace(0, 255, WIDTH * HEIGHT).reshape(HEIGHT, WIDTH).astype(np.uint8)
    data = png_from(np.dstack([photo(), alpha]), 8, 6)
    assert_shows(data, on_white(photo(), alpha), 1)
    assert_shows(
        save(Image.fromarray(np.dstack([photo(), alpha])), "WEBP", lossless=True, exact=True),
        on_white(photo(), alpha),
        1,
    )


def test_grey_grey_with_alpha_and_two_colours() -> None:
    grey = photo()[..., 0]
    alpha = photo(seed=9)[..., 1]
    three = np.dstack([grey] * 3)
    assert_shows(png_from(grey, 8, 0), three)
    assert_shows(save(Image.fromarray(grey), "JPEG", quality=98), three, 8)
    assert_shows(png_from(np.dstack([grey, alpha]), 8, 4), on_white(three, alpha), 1)
    bits = grey > 128
    assert_shows(save(Image.fromarray(bits), "PNG"), np.dstack([bits * np.uint8(255)] * 3))
    assert_shows(
        save(Image.fromarray(bits), "TIFF", compression="group4"), np.dstack([bits * np.uint8(255)] * 3)
    )


@pytest.mark.parametrize("name", ["PNG", "TIFF"])
def test_sixteen_bit_grey_keeps_its_high_byte(name: str) -> None:
    values = (photo()[..., 0].astype(np.uint16) << 8) | 0x5A
    data = png_from(values, 16, 0) if name == "PNG" else save(Image.fromarray(values), "TIFF")
    assert_shows(data, np.dstack([photo()[..., 0]] * 3))


def test_sixteen_bit_colour_and_alpha() -> None:
    wide = (photo().astype(np.uint16) << 8) | 0x80
    assert_shows(png_from(wide, 16, 2), photo())
    alpha = np.full((HEIGHT, WIDTH), 0x40FF, np.uint16)
    assert_shows(png_from(np.dstack([wide, alpha]), 16, 6), on_white(photo(), alpha >> 8), 1)
    grey = np.dstack([wide[..., 0], alpha])
    assert_shows(png_from(grey, 16, 4), on_white(np.dstack([photo()[..., 0]] * 3), alpha >> 8), 1)


@pytest.mark.parametrize(("depth", "colour"), [(8, 0), (16, 0), (8, 2)])
def test_one_transparent_colour_is_white(depth: int, colour: int) -> None:
    rgb = photo()
    samples: NDArray[Any] = rgb if colour == 2 else rgb[..., 0]
    clear = samples[5, 7].tolist() if colour == 2 else [int(samples[5, 7])]
    hit = (samples == samples[5, 7]).all(axis=-1) if colour == 2 else samples == samples[5, 7]
    if depth == 16:
        samples, clear = samples.astype(np.uint16) * 257, [value * 257 for value in clear]
    data = png_from(samples, depth, colour, png_chunk(b"tRNS", struct.pack(f">{len(clear)}H", *clear)))
    expected = rgb.copy() if colour == 2 else np.dstack([rgb[..., 0]] * 3)
    expected[hit] = 255
    assert_shows(data, expected)


def test_palette_with_transparency() -> None:
    colours = np.random.default_rng(3).integers(0, 256, (16, 3), np.uint8)
    alpha = np.array([0, 255, 128, 64] * 4, np.uint8)
    index = np.random.default_rng(4).integers(0, 16, (HEIGHT, WIDTH), np.uint8)
    chunks = png_chunk(b"PLTE", colours.tobytes()), png_chunk(b"tRNS", alpha.tobytes())
    assert_shows(png_from(index, 8, 3, *chunks), on_white(colours[index], alpha[index]), 1)
    assert_shows(png_from(index, 8, 3, chunks[0]), colours[index])


def test_gif_transparency_is_white() -> None:
    index = np.arange(WIDTH * HEIGHT, dtype=np.uint8).reshape(HEIGHT, WIDTH) % 8
    image = Image.frombytes("P", (WIDTH, HEIGHT), index.tobytes())
    colours = np.random.default_rng(3).integers(0, 250, (8, 3), np.uint8)
    image.putpalette(colours.tobytes())
    expected = colours[index]
    expected[index == 5] = 255
    assert_shows(save(image, "GIF", transparency=5), expected)


def test_cmyk() -> None:
    ink = np.dstack([photo(seed=seed)[..., 0] for seed in range(4)])
    image = Image.frombytes("CMYK", (WIDTH, HEIGHT), ink.tobytes())
    light = 255 - ink.astype(float)
    expected = np.rint(light[..., :3] * light[..., 3:] / 255).astype(np.uint8)
    assert_shows(save(image, "TIFF"), expected, 1)
    # Pillow writes CMYK JPEG inverted behind an Adobe marker, as Photoshop does.
    assert_shows(save(image, "JPEG", quality=98, subsampling=0), expected, 12)


def test_pixels_without_a_fixed_range_are_refused() -> None:
    for mode in ("F", "I"):
        with pytest.raises(CannotEvaluate) as caught:
            decoded(save(Image.new(mode, (WIDTH, HEIGHT), 7), "TIFF"))
        assert caught.value.reason == Reason.UNSUPPORTED_FORMAT


def test_a_multi_picture_jpeg_is_judged_by_its_main_picture() -> None:
    first, second = Image.fromarray(photo()), Image.fromarray(photo(48, 40, seed=1))
    data = save(first, "MPO", save_all=True, append_images=[second], quality=98, subsampling=0)
    assert_shows(data, photo(), 8)
    assert decoded(data).facts.format == "JPEG"
    assert decoded(data).facts.frames == 1


@pytest.mark.parametrize("name", ["PNG", "WEBP", "TIFF"])
def test_frames_are_sampled_evenly(name: str) -> None:
    pictures = [photo(seed=seed) for seed in range(10)]
    images = [Image.fromarray(picture) for picture in pictures]
    options = {"lossless": True} if name == "WEBP" else {}
    views = decoded(save(images[0], name, save_all=True, append_images=images[1:], **options))
    assert views.facts.frames == 10
    for got, index in zip(views.arrays["global"], (0, 3, 6, 9), strict=True):
        assert (got == render_all(pictures[index], VIEWS)["global"]).all()


def test_gif_frames_build_on_each_other() -> None:
    """The second frame repaints a part and leaves the rest; the third clears to the first."""
    index = np.zeros((HEIGHT, WIDTH), np.uint8)
    index[:, ::2] = 1
    colours = bytes([255, 0, 0, 0, 255, 0, 0, 0, 255, 255, 255, 0])
    frames = []
    for step in range(3):
        shown = index.copy()
        shown[8 * step : 8 * step + 8, :40] = 2 + step % 2
        frame = Image.frombytes("P", (WIDTH, HEIGHT), shown.tobytes())
        frame.putpalette(colours)
        frames.append(frame)
    views = decoded(save(frames[0], "GIF", save_all=True, append_images=frames[1:], optimize=False))
    assert views.facts.frames == 3
    for got, frame in zip(views.arrays["mosaic"], frames, strict=True):
        assert (got == render_all(np.asarray(frame.convert("RGB")), VIEWS)["mosaic"]).all()


def test_blank_and_small_frames_are_left_out() -> None:
    blank = Image.new("RGB", (WIDTH, HEIGHT), (9, 9, 9))
    images = [blank, Image.fromarray(photo()), blank]
    views = decoded(save(images[0], "TIFF", save_all=True, append_images=images[1:]))
    assert views.facts.frames == 3
    assert len(views.arrays["global"]) == 1
    assert (views.arrays["global"][0] == render_all(photo(), VIEWS)["global"]).all()


@pytest.mark.parametrize(
    ("image", "reason"),
    [
        (Image.new("RGB", (500, 500), (1, 2, 3)), Reason.BLANK),
        (Image.new("RGBA", (500, 500), (1, 2, 3, 0)), Reason.BLANK),
        (Image.new("L", (1, 1)), Reason.TOO_SMALL),
        (Image.fromarray(photo(500, 20)), Reason.TOO_SMALL),
    ],
)
def test_nothing_to_judge(image: Image.Image, reason: Reason) -> None:
    with pytest.raises(NotApplicable) as caught:
        decoded(save(image, "PNG"))
    assert caught.value.reason == reason


@pytest.mark.parametrize(
    ("limits", "reason"),
    [
        ({"max_bytes": 100}, Reason.TOO_MANY_BYTES),
        ({"max_pixels": WIDTH * HEIGHT - 1}, Reason.TOO_MANY_PIXELS),
        ({"max_frames": 2}, Reason.TOO_MANY_FRAMES),
    ],
)
@pytest.mark.parametrize("kind", [kind for kind in every_format() if "animated" in kind or "pages" in kind])
def test_limits(kind: str, limits: dict[str, int], reason: Reason) -> None:
    data = every_format()[kind]
    assert decoded(data, max_pixels=WIDTH * HEIGHT, max_frames=3).facts.frames == 3
    with pytest.raises(CannotEvaluate) as caught:
        decoded(data, **limits)
    assert caught.value.reason == reason


def test_all_frames_together_have_a_limit() -> None:
    images = [Image.fromarray(photo(40, 40, seed=seed)) for seed in range(25)]
    data = save(images[0], "GIF", save_all=True, append_images=images[1:])
    assert decoded(data, max_pixels=40 * 40 * 25 // 20).facts.frames == 25
    with pytest.raises(CannotEvaluate) as caught:
        decoded(data, max_pixels=40 * 40 * 24 // 20)
    assert caught.value.reason == Reason.TOO_MANY_PIXELS


def test_pillows_warnings_stay_inside() -> None:
    two_counts = png_chunk(b"acTL", struct.pack(">II", 1, 0)) * 2  # Pillow warns: "Invalid APNG"
    with warnings.catch_warnings(record=True) as seen:
        warnings.simplefilter("always")
        decoded(every_format()["TIFF"], max_pixels=WIDTH * HEIGHT)  # over half of the limit: a bomb warning
        assert_shows(png_from(photo(), 8, 2, two_counts), photo())
    assert seen == []


@pytest.mark.parametrize(("count", "wanted"), [(1, 4), (4, 4), (5, 4), (100, 4), (7, 1), (1000, 32)])
def test_spread(count: int, wanted: int) -> None:
    chosen = spread(count, wanted)
    assert len(chosen) == min(count, wanted) == len(set(chosen))
    assert chosen == sorted(chosen)
    assert chosen[0] == 0
    assert wanted == 1 or chosen[-1] == count - 1
