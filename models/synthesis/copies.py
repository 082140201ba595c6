"""From one photograph to its shrunk copies: crop, kernel and size drawn from a seed.

Sources are shrunk before they are re-synthesised, which washes out the traces of their own JPEG
compression, and what comes out has the sizes at which uploads are judged.
"""

import hashlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image, ImageFilter, ImageOps

from models.synthesis.base import KERNELS, RGB, draw_kernel

SMALLEST = 128  # a short side that a copy must reach
LEAST_SHRINK = 0.85  # a copy's scale never exceeds it


@dataclass(frozen=True, slots=True)
class Cut:
    """How one copy is made from its photograph."""

    box: tuple[int, int, int, int]  # left, top, right, bottom
    size: tuple[int, int]  # width, height
    kernel: str
    sharpen: int  # percent of unsharp masking after shrinking, as web thumbnails have it; 0 for none


def seeded(*words: object) -> np.random.Generator:
    """A generator that depends on the words alone, not on the order of the work or on the platform."""
    digest = hashlib.sha256("\x1f".join(str(word) for word in words).encode()).digest()
    return np.random.default_rng(int.from_bytes(digest[:8], "little"))


def open_rgb(path: Path) -> Image.Image:
    """The picture upright, as RGB, transparency on white."""
    with Image.open(path) as stored:
        upright = ImageOps.exif_transpose(stored)
        if upright.has_transparency_data:
            flat = Image.new("RGBA", upright.size, "white")
            flat.alpha_composite(upright.convert("RGBA"))
            return flat.convert("RGB")
        return upright.convert("RGB")


def draw_cut(
    size: tuple[int, int], short_sides: tuple[int, int], rng: np.random.Generator, *, whole: bool = False
) -> Cut | None:
    """A random crop (the whole picture for `whole`) and a shrink to a short side within `short_sides`.

    None where the picture is too small to be shrunk to any of them.
    """
    width, height = size
    share = 1.0 if whole else float(rng.uniform(0.45, 1.0))
    crop_w, crop_h = round(width * share), round(height * share)
    largest = int(min(crop_w, crop_h) * LEAST_SHRINK)
    low, high = max(SMALLEST, short_sides[0]), min(short_sides[1], largest)
    if high < SMALLEST:
        return None
    short = int(rng.integers(min(low, high), high + 1))
    left = int(rng.integers(0, width - crop_w + 1))
    top = int(rng.integers(0, height - crop_h + 1))
    scale = short / min(crop_w, crop_h)
    target = max(short, round(crop_w * scale)), max(short, round(crop_h * scale))
    sharpen = int(rng.integers(30, 100)) if rng.random() < 0.25 else 0
    return Cut((left, top, left + crop_w, top + crop_h), target, draw_kernel(rng), sharpen)


def make_copy(picture: Image.Image, cut: Cut) -> RGB:
    """Carry out a cut."""
    copy = picture.resize(cut.size, KERNELS[cut.kernel], box=cut.box)
    if cut.sharpen:
        copy = copy.filter(ImageFilter.UnsharpMask(radius=0.8, percent=cut.sharpen, threshold=0))
    return np.asarray(copy, dtype=np.uint8)
