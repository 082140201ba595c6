"""Picture files made for tests, and what a browser on a white page would show of them."""

import io
import struct
import zlib
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from models.spec import ViewSpec
from stream.decode import Limits

VIEWS = (
    ViewSpec(name="global", kind="global", size=64),
    ViewSpec(name="mosaic", kind="mosaic", size=64, tile=32),
)
LIMITS = Limits(
    max_bytes=4 << 20, max_pixels=2_000_000, max_frames=50, sample_frames=4, timeout_s=20, memory_mb=512
)
WIDTH, HEIGHT = 96, 64


def photo(width: int = WIDTH, height: int = HEIGHT, seed: int = 0) -> NDArray[np.uint8]:
    """A smooth random RGB picture [H, W, 3]: every corner differs, and JPEG keeps it nearly as it is."""
    corners = np.random.default_rng(seed).integers(0, 256, (4, 6, 3), np.uint8)
    small = Image.fromarray(corners)
    return np.asarray(small.resize((width, height), Image.Resampling.BICUBIC))


def save(image: Image.Image, name: str, **options: Any) -> bytes:
    """The bytes of a picture saved by Pillow."""
    stream = io.BytesIO()
    image.save(stream, name, **options)
    return stream.getvalue()


def every_format(seed: int = 0) -> dict[str, bytes]:
    """One still file of each format that is read, and the animated and paged kinds."""
    image, frames = (
        Image.fromarray(photo(seed=seed)),
        [Image.fromarray(photo(seed=seed + i)) for i in range(3)],
    )
    several: dict[str, Any] = {"save_all": True, "append_images": frames[1:]}
    return {
        "JPEG": save(image, "JPEG", quality=95),
        "JPEG progressive": save(image, "JPEG", quality=95, progressive=True),
        "PNG": save(image, "PNG"),
        "PNG palette": save(image.quantize(64), "PNG"),
        "WEBP": save(image, "WEBP", quality=95),
        "WEBP lossless": save(image, "WEBP", lossless=True),
        "GIF": save(image, "GIF"),
        "AVIF": save(image, "AVIF", quality=95),
        "BMP": save(image, "BMP"),
        "TIFF": save(image, "TIFF"),
        "TIFF deflate": save(image, "TIFF", compression="tiff_deflate"),
        "TIFF lzw": save(image, "TIFF", compression="tiff_lzw"),
        "PNG animated": save(frames[0], "PNG", **several),
        "WEBP animated": save(frames[0], "WEBP", **several),
        "GIF animated": save(frames[0], "GIF", **several),
        "AVIF animated": save(frames[0], "AVIF", **several),
        "TIFF pages": save(frames[0], "TIFF", **several),
    }


def png_chunk(kind: bytes, body: bytes) -> bytes:
    """A PNG chunk with its length and check sum."""
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def png(width: int, height: int, depth: int, colour: int, rows: bytes, *chunks: bytes) -> bytes:
    """A PNG from its header fields and its filtered rows, with chunks before the data."""
    header = png_chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0))
    body = b"".join(chunks) + png_chunk(b"IDAT", zlib.compress(rows))
    return b"\x89PNG\r\n\x1a\n" + header + body + png_chunk(b"IEND", b"")


def png_from(samples: NDArray[Any], depth: int, colour: int, *chunks: bytes) -> bytes:
    """A PNG of samples [H, W, C] or [H, W], 8 or 16 bits each, that no encoder has interpreted."""
    height, width = samples.shape[:2]
    flat = samples.astype(">u2" if depth == 16 else np.uint8).reshape(height, -1)
    rows = b"".join(b"\0" + row.tobytes() for row in flat)
    return png(width, height, depth, colour, rows, *chunks)
