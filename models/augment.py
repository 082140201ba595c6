"""One chain of resize, blur, crop and codecs for both classes. No torch here.

The field's best-known trap is that reals are JPEG and fakes are not (papers.md of every relative: a
JPEG detector scores well). Both classes go through the same chain here, and the two pictures of a pair
through the same *draw* of it, so that nothing but the generator's trace can tell them apart.
"""

import io
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial

import numpy as np
from PIL import Image, ImageFilter

from models.synthesis.base import KERNELS, RGB, draw_kernel
from models.views import size_at

Step = Callable[[RGB], RGB]


@dataclass(frozen=True, slots=True)
class Strength:
    """How much of what may happen. Chances are 0 to 1; the defaults are the milder half of the web."""

    untouched: float = 0.25  # chance that no codec, blur or rescale happens at all
    rescale: float = 0.5
    scales: tuple[float, float] = (0.5, 2.0)
    blur: float = 0.1
    blur_sigma: tuple[float, float] = (0.3, 1.5)
    jpeg: float = 0.6
    jpeg_quality: tuple[int, int] = (50, 100)
    second_jpeg: float = 0.15
    webp: float = 0.15
    webp_quality: tuple[int, int] = (50, 100)
    flip: float = 0.5

    def milder(self) -> "Strength":
        """For the first part of training: hard families are not learned at all under strong codecs."""
        codec = replace(self, untouched=0.5, jpeg_quality=(80, 100), webp_quality=(80, 100))
        return replace(codec, scales=(0.75, 1.33), blur=0.03, second_jpeg=0.05)


NONE = Strength(untouched=1.0, flip=0.0)


def only_jpeg(quality: int) -> Strength:
    """Saved as JPEG of that quality, and nothing else."""
    always = replace(NONE, untouched=0.0, jpeg=1.0, jpeg_quality=(quality, quality))
    return replace(always, rescale=0.0, blur=0.0, second_jpeg=0.0, webp=0.0)


@dataclass(frozen=True, slots=True)
class Chain:
    """One draw: the steps in order, and the crop as fractions, so that it fits a picture of any size."""

    steps: tuple[Step, ...]
    short_side: int | None  # None: native pixels
    kernel: str
    corner: tuple[float, float]  # of the crop, as fractions of the free height and width
    flip: bool

    def apply(self, rgb: RGB, crop: int | None = None) -> RGB:
        """Bring a picture [H, W, 3] to the short side, run the steps, crop to `crop` x `crop`.

        The steps come after the common size, so that codec blocks fall on the same grid in both classes.
        Rescaling steps return to the size that they found.
        """
        if self.short_side is not None:
            rgb = to_short_side(rgb, self.short_side, self.kernel)
        for step in self.steps:
            rgb = step(rgb)
        if crop is not None:
            rgb = _crop(rgb, crop, self.corner)
        return np.ascontiguousarray(rgb[:, ::-1] if self.flip else rgb)


def draw_chain(
    rng: np.random.Generator,
    strength: Strength = Strength(),
    short_sides: tuple[int, int] | None = (256, 256),
) -> Chain:
    """Draw one chain. Apply it to both pictures of a pair."""
    short = int(rng.integers(short_sides[0], short_sides[1] + 1)) if short_sides else None
    kernel = draw_kernel(rng)
    steps = () if rng.random() < strength.untouched else _draw_steps(rng, strength)
    corner = float(rng.random()), float(rng.random())
    return Chain(steps, short, kernel, corner, bool(rng.random() < strength.flip))


def _draw_steps(rng: np.random.Generator, strength: Strength) -> tuple[Step, ...]:
    steps: list[Step] = []
    if rng.random() < strength.rescale:
        low, high = np.log(strength.scales)
        steps.append(partial(rescaled, scale=float(np.exp(rng.uniform(low, high))), kernel=draw_kernel(rng)))
    if rng.random() < strength.blur:
        steps.append(partial(blurred, sigma=float(rng.uniform(*strength.blur_sigma))))
    for chance in (strength.jpeg, strength.second_jpeg):
        if rng.random() < chance:
            steps.append(partial(jpeg, quality=int(rng.integers(*strength.jpeg_quality, endpoint=True))))
    if rng.random() < strength.webp:
        steps.append(partial(webp, quality=int(rng.integers(*strength.webp_quality, endpoint=True))))
    return tuple(steps)


def to_short_side(rgb: RGB, short: int, kernel: str = "bicubic") -> RGB:
    """Both classes to one size: the first confounder is how large a picture is."""
    size = size_at(rgb, short)
    if size == (rgb.shape[1], rgb.shape[0]):
        return rgb
    return np.asarray(Image.fromarray(rgb).resize(size, KERNELS[kernel]), dtype=np.uint8)


def rescaled(rgb: RGB, scale: float, kernel: str = "bicubic") -> RGB:
    """Resample by `scale` and back to the size that it had."""
    height, width = rgb.shape[:2]
    picture = Image.fromarray(rgb).resize(
        (max(8, round(width * scale)), max(8, round(height * scale))), KERNELS[kernel]
    )
    return np.asarray(picture.resize((width, height), KERNELS[kernel]), dtype=np.uint8)


def blurred(rgb: RGB, sigma: float) -> RGB:
    """Gaussian blur."""
    return np.asarray(Image.fromarray(rgb).filter(ImageFilter.GaussianBlur(sigma)), dtype=np.uint8)


def jpeg(rgb: RGB, quality: int) -> RGB:
    """Through a JPEG file; chroma at half resolution below quality 90, as most writers do."""
    return _through(rgb, "JPEG", quality=quality, subsampling=0 if quality >= 90 else 2)


def webp(rgb: RGB, quality: int) -> RGB:
    """Through a lossy WebP file."""
    return _through(rgb, "WEBP", quality=quality, method=2)


def screenshot(rgb: RGB) -> RGB:
    """Enlarged by a third as a browser shows it, JPEG, back, JPEG again: a screenshot that is posted."""
    height, width = rgb.shape[:2]
    shown = Image.fromarray(rgb).resize(
        (round(width * 1.33), round(height * 1.33)), Image.Resampling.BILINEAR
    )
    posted = Image.fromarray(jpeg(np.asarray(shown, dtype=np.uint8), 85))
    back = posted.resize((width, height), Image.Resampling.LANCZOS)
    return jpeg(np.asarray(back, dtype=np.uint8), 75)


def centre_crop(rgb: RGB, share: float) -> RGB:
    """The middle `share` of each side, as native pixels."""
    height, width = rgb.shape[:2]
    rows, columns = max(1, round(height * share)), max(1, round(width * share))
    top, left = (height - rows) // 2, (width - columns) // 2
    return np.ascontiguousarray(rgb[top : top + rows, left : left + columns])


def _through(rgb: RGB, format_: str, **options: int) -> RGB:
    buffer = io.BytesIO()
    Image.fromarray(rgb).save(buffer, format=format_, **options)
    with Image.open(buffer) as stored:
        return np.asarray(stored.convert("RGB"), dtype=np.uint8)


def _crop(rgb: RGB, side: int, corner: tuple[float, float]) -> RGB:
    """A square crop; a picture that is too small is mirrored at its border, never enlarged."""
    height, width = rgb.shape[:2]
    below, right = max(0, side - height), max(0, side - width)
    if below or right:
        rgb = np.pad(rgb, ((0, below), (0, right), (0, 0)), mode="symmetric")
        height, width = rgb.shape[:2]
    top, left = round(corner[0] * (height - side)), round(corner[1] * (width - side))
    return rgb[top : top + side, left : left + side]
