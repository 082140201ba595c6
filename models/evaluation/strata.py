"""The same figures within one file format, one class of sizes, one class of JPEG qualities.

A detector of formats, sizes or codecs shows here: it is good over all files and poor within a stratum.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from models.evaluation.contenders import Method
from models.evaluation.figures import Figures, compare
from models.evaluation.tables import Panel


@dataclass(frozen=True, slots=True)
class StratumRow:
    """All fakes of a stratum against all its reals."""

    dimension: str
    stratum: str
    reals: int
    fakes: int
    figures: Figures
    real_flips: float  # see flips.py; nan where the stratum has no reals


def stratum_rows(on: Panel, method: Method, flipped: NDArray[np.bool_]) -> list[StratumRow]:
    """`flipped` [N]: whose verdict a re-encoding changed."""
    labelled = [facts.strata for facts in on.facts]
    rows = []
    for dimension in labelled[0]:
        named = np.array([strata[dimension] for strata in labelled])
        rows += [
            _row(on, method, flipped, dimension, name, named == name) for name in np.unique(named).tolist()
        ]
    return rows


def _row(
    on: Panel,
    method: Method,
    flipped: NDArray[np.bool_],
    dimension: str,
    name: str,
    inside: NDArray[np.bool_],
) -> StratumRow:
    reals = np.flatnonzero(inside & (on.labels == 0)).astype(np.int64)
    fakes = np.flatnonzero(inside & (on.labels == 1)).astype(np.int64)
    figures = compare(method.scores, reals, fakes, on.weights, method.threshold).figures()
    changed = float(flipped[reals].mean()) if len(reals) else float("nan")
    return StratumRow(dimension, name, len(reals), len(fakes), figures, changed)
