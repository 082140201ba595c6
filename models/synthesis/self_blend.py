"""Self-blended images: a face pasted onto itself (Shiohara and Yamasaki, CVPR 2022, section 3).

Two copies of a picture, one with slightly changed colours, sharpness and position, are blended in a
soft mask over the face. What is left is what every face swap leaves: a seam and two unlike statistics.
"""

from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageEnhance, ImageFilter

from models.synthesis.base import RGB

Box = tuple[int, int, int, int]  # left, top, width, height


class SelfBlend:
    """Blends inside the largest face that is found; without one, inside a central ellipse."""

    name = "self_blend"
    family = "face_blend"

    def apply(self, rgb: RGB, rng: np.random.Generator) -> RGB:
        height, width = rgb.shape[:2]
        box = find_face(rgb) or (width // 4, height // 4, width // 2, height // 2)
        mask = _mask(box, (width, height), rng)
        original = Image.fromarray(rgb)
        disturbed = _disturb(original, rng)
        inner, outer = (disturbed, original) if rng.random() < 0.5 else (original, disturbed)
        blended = mask * _floats(_move(inner, rng)) + (1 - mask) * _floats(outer)
        rounded: RGB = np.clip(blended + 0.5, 0, 255).astype(np.uint8)
        return rounded


def find_face(rgb: RGB) -> Box | None:
    """The largest frontal face by scikit-image's LBP cascade, or None."""
    smallest = max(24, min(rgb.shape[:2]) // 6)
    found = _cascade().detect_multi_scale(
        img=rgb,
        scale_factor=1.25,
        step_ratio=1.3,
        min_size=(smallest, smallest),
        max_size=(rgb.shape[0], rgb.shape[1]),
    )
    if not found:
        return None
    face = max(found, key=lambda item: item["width"] * item["height"])
    return face["c"], face["r"], face["width"], face["height"]


@cache
def _cascade() -> Any:
    from skimage.data import lbp_frontal_face_cascade_filename
    from skimage.feature import Cascade

    return Cascade(lbp_frontal_face_cascade_filename())  # type: ignore[no-untyped-call]


def _floats(picture: Image.Image) -> NDArray[np.float32]:
    return np.asarray(picture, dtype=np.float32)


def _mask(box: Box, size: tuple[int, int], rng: np.random.Generator) -> NDArray[np.float32]:
    """A blurred, wobbling ellipse over the face, in [0, strength], as [H, W, 1]."""
    left, top, width, height = box
    y, x = np.mgrid[0 : size[1], 0 : size[0]]
    centre_x, centre_y = left + width / 2, top + height / 2
    angle = np.arctan2(y - centre_y, x - centre_x)
    wobble = sum(rng.normal(0, 0.05) * np.cos(k * angle + rng.uniform(0, 6.3)) for k in range(2, 6))
    scale = rng.uniform(0.75, 1.1)
    radius = np.hypot((x - centre_x) / (0.45 * width), (y - centre_y) / (0.6 * height)) / scale
    hard = Image.fromarray(((radius < 1 + wobble) * 255).astype(np.uint8))
    soft = hard.filter(ImageFilter.GaussianBlur(rng.uniform(0.01, 0.08) * width))
    strength = rng.choice([0.5, 0.75, 1.0, 1.0])
    return _floats(soft)[..., None] * np.float32(strength / 255)


def _disturb(picture: Image.Image, rng: np.random.Generator) -> Image.Image:
    """Colour, contrast, brightness, and either sharper or softer."""
    for enhancer in (ImageEnhance.Color, ImageEnhance.Contrast, ImageEnhance.Brightness):
        picture = enhancer(picture).enhance(float(rng.uniform(0.8, 1.2)))
    shift = rng.integers(-12, 13, 3).astype(np.int16)
    picture = Image.fromarray(np.clip(np.asarray(picture, np.int16) + shift, 0, 255).astype(np.uint8))
    if rng.random() < 0.5:
        return ImageEnhance.Sharpness(picture).enhance(float(rng.uniform(1.3, 2.5)))
    width, height = picture.size
    factor = float(rng.uniform(1.3, 2.5))
    small = picture.resize((round(width / factor), round(height / factor)), Image.Resampling.BICUBIC)
    return small.resize((width, height), Image.Resampling.BICUBIC)


def _move(picture: Image.Image, rng: np.random.Generator) -> Image.Image:
    """Up to 3 % of the side away and up to 5 % larger or smaller, about the centre."""
    width, height = picture.size
    scale = float(rng.uniform(0.95, 1.05))
    dx, dy = rng.uniform(-0.03, 0.03, 2) * (width, height)
    shift_x, shift_y = (1 - scale) * width / 2 + dx, (1 - scale) * height / 2 + dy
    affine = (scale, 0.0, float(shift_x), 0.0, scale, float(shift_y))
    return picture.transform((width, height), Image.Transform.AFFINE, affine, Image.Resampling.BICUBIC)
