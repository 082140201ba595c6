"""What every re-synthesis generator is: a real photograph in, its synthetic double out. No torch here."""

from collections.abc import Sequence
from typing import Protocol

import numpy as np
from numpy.typing import NDArray
from PIL import Image

RGB = NDArray[np.uint8]  # [H, W, 3]

KERNELS: dict[str, Image.Resampling] = {
    "box": Image.Resampling.BOX,  # Pillow's box averages areas when it shrinks
    "bilinear": Image.Resampling.BILINEAR,
    "hamming": Image.Resampling.HAMMING,
    "bicubic": Image.Resampling.BICUBIC,
    "lanczos": Image.Resampling.LANCZOS,
}


class SynthesisError(Exception):
    """Weights or photographs are missing; the message says what to install or to give."""


class Generator(Protocol):
    """One generator. `apply` keeps the size: no score may tell the classes apart by their shape.

    All that is drawn at random comes from `rng`, so that a picture can be made again.
    """

    @property
    def name(self) -> str: ...

    @property
    def family(self) -> str:
        """Generators of one family are held out together: they share their traces."""
        ...

    def apply(self, rgb: RGB, rng: np.random.Generator) -> RGB: ...


def resize(rgb: RGB, width: int, height: int, kernel: str) -> RGB:
    """Resample to width x height; shrinking is anti-aliased."""
    if rgb.shape[:2] == (height, width):
        return rgb
    picture = Image.fromarray(rgb).resize((width, height), KERNELS[kernel])
    return np.asarray(picture, dtype=np.uint8)


def draw_kernel(rng: np.random.Generator, kernels: Sequence[str] = tuple(KERNELS)) -> str:
    """One kernel's name, each as likely as the others."""
    return str(kernels[int(rng.integers(len(kernels)))])


def pad_to(rgb: RGB, multiple: int) -> RGB:
    """Repeat the mirrored border at the right and the bottom until both sides are multiples."""
    height, width = rgb.shape[:2]
    below, right = -height % multiple, -width % multiple
    return np.pad(rgb, ((0, below), (0, right), (0, 0)), mode="symmetric")


def to_float(rgb: RGB) -> NDArray[np.float32]:
    """Bytes to [0, 1] floats."""
    return np.multiply(rgb, np.float32(1 / 255), dtype=np.float32)


def to_uint8(values: NDArray[np.floating]) -> RGB:
    """[0, 1] floats to bytes, rounded to the nearest."""
    rounded: RGB = (np.clip(values, 0.0, 1.0) * 255.0 + 0.5).astype(np.uint8)
    return rounded
