"""Whether saving a real photograph once more as JPEG of quality 90 changes its verdict.

People re-save pictures all the time; a verdict that turns on it is one that nobody can explain.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from models.evaluation.contenders import Method
from models.layouts import Picture
from models.thresholds import clopper_pearson


@dataclass(frozen=True, slots=True)
class FlipRow:
    """One source of reals, or all of them ("all")."""

    source: str
    reals: int
    flips: int
    rate: float
    upper: float  # one-sided 95 % Clopper-Pearson bound


def flipped_verdicts(method: Method, labels: NDArray[np.int64], resaved: Method) -> NDArray[np.bool_]:
    """[N]: True where a real's verdict differs; `resaved` is the method on the R reals alone, in order."""
    flipped = np.zeros(len(labels), dtype=np.bool_)
    flipped[labels == 0] = resaved.verdicts() != method.verdicts()[labels == 0]
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
