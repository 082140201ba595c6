"""Whether saving a real photograph once more as JPEG of quality 90 changes its verdict.

People re-save pictures all the time; a verdict that turns on it is one that nobody can explain.
"""

import io
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from models.evaluation.contenders import Method
from models.layouts import Picture
from models.synthesis.base import RGB
from models.thresholds import clopper_pearson

QUALITY = 90


def saved_as_jpeg(rgb: RGB, quality: int = QUALITY) -> RGB:
    """Through a JPEG file as libjpeg writes it by default: chroma at half resolution at every quality."""
    buffer = io.BytesIO()
    Image.fromarray(rgb).save(buffer, "JPEG", quality=quality, subsampling=2)
    with Image.open(buffer) as stored:
        return np.asarray(stored.convert("RGB"), dtype=np.uint8)


@dataclass(frozen=True, slots=True)
class FlipRow:
    """One source of reals, or all of them ("all")."""

    source: str
    reals: int
    flips: int
    rate: float
    upper: float  # one-sided 95 % Clopper-Pearson bound


def flipped_verdicts(
    method: Method, labels: NDArray[np.int64], resaved: NDArray[np.float64]
) -> NDArray[np.bool_]:
    """[N]: True where a real's verdict differs; `resaved` are the scores [R] of the reals alone, in order."""
    flipped = np.zeros(len(labels), dtype=np.bool_)
    flipped[labels == 0] = method.verdicts(resaved) != method.verdicts()[labels == 0]
    return flipped


def flip_rows(pictures: Sequence[Picture], flipped: NDArray[np.bool_]) -> list[FlipRow]:
    """A row for all reals, then one a source."""
    sources = np.array([picture.source for picture in pictures])
    real = np.array([picture.label == 0 for picture in pictures])
    names = np.unique(sources[real]).tolist()
    return [_row("all", flipped[real]), *(_row(name, flipped[real & (sources == name)]) for name in names)]


def _row(name: str, flipped: NDArray[np.bool_]) -> FlipRow:
    count = int(flipped.sum())
    return FlipRow(name, len(flipped), count, count / len(flipped), clopper_pearson(count, len(flipped)))
