"""Small files that ask for much: pixels, frames, pages, inflated text. Built for the limits they attack."""

import struct
import zlib

from PIL import Image

from stream.decode import Limits
from tests.unit.picture_files import photo, png, png_chunk, png_from, save
from tests.unit.test_decode_hostile import gif_with_frames, tiff_chain

_MILLIONS = 2_000_000


def bombs(limits: Limits) -> dict[str, bytes]:
    """Kind -> file. None is larger than max_bytes."""
    side = int(limits.max_pixels**0.5)
    over = Image.new("L", (side + 8, side + 8))
    most = limits.max_bytes // 20
    text = zlib.compress(b"a" * (64 << 20))
    return {
        "PNG over the pixels": png(side + 8, side + 8, 8, 2, b"\0" * 1000),
        "PNG of 2^31 x 2^31": png(2**31 - 1, 2**31 - 1, 8, 6, b"\0" * 100),
        "PNG at the pixels, 16-bit RGBA": _flat_png(side, side, 16, 6, 8),
        "PNG at the pixels, palette": _flat_png(side, side, 8, 3, 1, png_chunk(b"PLTE", b"\1\2\3" * 256)),
        "PNG one pixel high": _flat_png(limits.max_pixels, 1, 8, 2, 3),
        "PNG one pixel wide": _flat_png(1, min(limits.max_pixels, 10_000_000), 8, 2, 3),
        "PNG text bomb": png_from(photo(), 8, 2, png_chunk(b"zTXt", b"comment\0\0" + text)),
        "PNG profile bomb": png_from(photo(), 8, 2, png_chunk(b"iCCP", b"profile\0\0" + text)),
        "PNG many chunks": png_from(photo(), 8, 2, png_chunk(b"tEXt", b"a\0b") * 100_000),
        "PNG claims two thousand million frames": png_from(
            photo(), 8, 2, png_chunk(b"acTL", struct.pack(">II", 2**31 - 1, 0))
        ),
        "GIF of millions of frames": gif_with_frames(min(_MILLIONS, most)),
        "GIF just over the frames": gif_with_frames(limits.max_frames + 1),
        "GIF of many large frames": gif_with_frames(limits.max_frames, 20_000, 20_000),
        "TIFF chain": tiff_chain(min(_MILLIONS, limits.max_bytes // 130)),
        "TIFF loop": tiff_chain(5, loop=True),
        "TIFF deflate at the pixels": save(Image.new("L", (side, side)), "TIFF", compression="tiff_deflate"),
        "TIFF deflate over the pixels": save(over, "TIFF", compression="tiff_deflate"),
        "WEBP over its own size": _giant_webp(),
        "WEBP large": save(Image.new("RGB", (min(side, 16383),) * 2), "WEBP", quality=0, method=0),
        "AVIF large": save(Image.new("L", (min(side, 8000),) * 2), "AVIF", quality=0, speed=10),
        "JPEG large": save(Image.new("RGB", (side, side)), "JPEG", quality=1),
        "JPEG of many scans": _scans(),
        "BMP giant": b"BM" + struct.pack("<IHHIIiiHHIIiiII", 54, 0, 0, 54, 40, 2**30, 2**30, 1, 24, *[0] * 6),
        "BMP run lengths": b"BM"
        + struct.pack("<IHHIIiiHHIIiiII", 4000, 0, 0, 1078, 40, side, side, 1, 8, 1, *[0] * 5)
        + b"\0" * 1024
        + b"\xff\1" * 1000,
    }


def _flat_png(width: int, height: int, depth: int, colour: int, bytes_a_pixel: int, *chunks: bytes) -> bytes:
    """A picture of zeros, compressed without ever being held whole."""
    packer, row, parts = zlib.compressobj(1), b"\0" * (1 + width * bytes_a_pixel), []
    for _ in range(height):
        parts.append(packer.compress(row))
    body = b"".join([*parts, packer.flush()])
    header = png_chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0))
    data = png_chunk(b"IDAT", body)
    return b"\x89PNG\r\n\x1a\n" + header + b"".join(chunks) + data + png_chunk(b"IEND", b"")


def _giant_webp() -> bytes:
    body = b"WEBPVP8X\x0a\0\0\0\0\0\0\0" + b"\xff\xff\xff" * 2
    return b"RIFF" + struct.pack("<I", len(body)) + body


def _scans() -> bytes:
    """A progressive JPEG whose last scan comes again and again: each is decoded over the whole picture."""
    data = save(Image.fromarray(photo(800, 800)), "JPEG", progressive=True)
    last = data.rindex(b"\xff\xda")
    return data[:last] + data[last:-2] * 500 + b"\xff\xd9"
