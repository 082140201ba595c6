"""Sound pictures of every format and of the odd corners of each: what mutations start from."""

import struct
from typing import Any

import numpy as np
from PIL import Image

from tests.unit.picture_files import every_format, photo, png, png_chunk, png_from, save


def sound_files(seed: int = 0) -> dict[str, bytes]:
    """Kind -> file."""
    image = Image.fromarray(photo(seed=seed))
    grey, values = image.convert("L"), photo(seed=seed)
    wide: Any = values.astype(np.uint16) * 257
    clear = image.copy()
    clear.putalpha(grey)
    return {
        **every_format(seed),
        "JPEG CMYK": save(image.convert("CMYK"), "JPEG"),
        "JPEG grey": save(grey, "JPEG"),
        "JPEG subsampled": save(image, "JPEG", subsampling=2, quality=30),
        "PNG 16-bit RGB": png_from(wide, 16, 2),
        "PNG 16-bit grey": png_from(wide[..., 0], 16, 0),
        "PNG 1-bit": save(image.convert("1"), "PNG"),
        "PNG alpha": save(clear, "PNG"),
        "PNG grey alpha": save(clear.convert("LA"), "PNG"),
        "PNG palette with transparency": save(image.quantize(16), "PNG", transparency=3),
        "TIFF CMYK": save(image.convert("CMYK"), "TIFF", compression="jpeg"),
        "TIFF 16-bit": save(Image.fromarray(wide[..., 0]), "TIFF"),
        "TIFF float": save(Image.fromarray(values[..., 0].astype(np.float32)), "TIFF"),
        "TIFF fax": save(image.convert("1"), "TIFF", compression="group4"),
        "TIFF packbits": save(image.quantize(32), "TIFF", compression="packbits"),
        "WEBP alpha": save(clear, "WEBP"),
        "AVIF alpha": save(clear, "AVIF"),
        "BMP palette": save(image.quantize(16), "BMP"),
        "BMP 1-bit": save(image.convert("1"), "BMP"),
        "GIF transparent": save(image.quantize(16), "GIF", transparency=1),
    }


def odd_palettes() -> dict[str, bytes]:
    """Palettes that are missing, too short, too long, or pointed beyond."""
    rows = b"".join(b"\0" + bytes(range(96)) for _ in range(64))
    entries = {"none": 0, "short": 2, "odd": None, "long": 600}
    made = {}
    for name, count in entries.items():
        body = b"\1\2\3\4" if count is None else bytes(range(256)) * 8
        body = body if count is None else body[: 3 * count]
        made[f"PNG palette {name}"] = png(96, 64, 8, 3, rows, *([png_chunk(b"PLTE", body)] if body else []))
    bmp = bytearray(sound_files()["BMP palette"])
    bmp[46:50] = struct.pack("<I", 2**31)
    made["BMP palette of two thousand million"] = bytes(bmp)
    return made
