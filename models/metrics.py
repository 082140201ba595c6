"""Figures that compare a detector's scores on real and on synthetic pictures. No torch here.

Every function takes scores where higher means "more synthetic". `real` and `fake` are 1-D arrays.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Scores = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Interval:
    """A figure with its bootstrap interval."""

    value: float
    low: float
    high: float

    def __str__(self) -> str:
        return f"{self.value:.3f} [{self.low:.3f}, {self.high:.3f}]"


def auc(real: Scores, fake: Scores) -> float:
    """Area under the ROC curve: the chance that a fake scores above a real, ties counting half.

    nan where a class is empty.
    """
    if not len(real) or not len(fake):
        return float("nan")
    ordered = np.sort(real)
    below = np.searchsorted(ordered, fake, side="left")
    up_to = np.searchsorted(ordered, fake, side="right")
    return float((below + up_to).mean() / (2 * len(real)))


def average_precision(real: Scores, fake: Scores) -> float:
    """Mean precision over recall steps, fakes being the positives; equal scores are one step."""
    if not len(real) or not len(fake):
        return float("nan")
    thresholds = np.unique(fake)[::-1]
    hits = len(fake) - np.searchsorted(np.sort(fake), thresholds, side="left")
    alarms = len(real) - np.searchsorted(np.sort(real), thresholds, side="left")
    gained = np.diff(hits, prepend=0) / len(fake)
    return float((gained * hits / (hits + alarms)).sum())


def threshold_at_fpr(real: Scores, fpr: float) -> float:
    """The lowest threshold at which at most a share `fpr` of these reals is flagged (score > threshold)."""
    allowed = int(np.floor(fpr * len(real) + 1e-9))
    return float(np.sort(real)[::-1][allowed]) if allowed < len(real) else float("-inf")


def tpr_at_fpr(real: Scores, fake: Scores, fpr: float) -> float:
    """Share of fakes found at the threshold that flags at most `fpr` of the reals."""
    if not len(real) or not len(fake):
        return float("nan")
    return float((fake > threshold_at_fpr(real, fpr)).mean())


def expected_calibration_error(probabilities: Scores, labels: NDArray[np.int64], bins: int = 15) -> float:
    """Mean gap between stated probability and observed share, over equally wide bins (Guo et al., 2017).

    The classes are weighed alike, as the bundle's score presumes even odds.
    """
    weights = np.where(labels == 1, 0.5 / max(1, labels.sum()), 0.5 / max(1, (1 - labels).sum()))
    index = np.minimum((probabilities * bins).astype(int), bins - 1)
    gaps = np.zeros(bins)
    np.add.at(gaps, index, weights * (probabilities - labels))
    return float(np.abs(gaps).sum())


def bootstrap(
    figure: Callable[[Scores, Scores], float],
    real: Scores,
    fake: Scores,
    *,
    groups: tuple[Sequence[str], Sequence[str]] | None = None,
    draws: int = 400,
    level: float = 0.95,
    seed: int = 0,
) -> Interval:
    """Percentile interval. With `groups` (of the reals, of the fakes) whole groups are drawn.

    Several copies of one photograph are not independent: drawing single pictures would make the
    interval too narrow.
    """
    rng = np.random.default_rng(seed)
    members = groups or ([str(i) for i in range(len(real))], [str(i) for i in range(len(fake))])
    clusters = [_clusters(names) for names in members]
    values = [
        figure(*(side[_redraw(blocks, rng)] for side, blocks in zip((real, fake), clusters, strict=True)))
        for _ in range(draws)
    ]
    tail = (1 - level) / 2
    low, high = np.nanquantile(values, [tail, 1 - tail])
    return Interval(figure(real, fake), float(low), float(high))


def _clusters(names: Sequence[str]) -> list[NDArray[np.int64]]:
    order = np.argsort(np.asarray(names), kind="stable").astype(np.int64)
    ordered = np.asarray(names)[order]
    starts = np.flatnonzero(ordered[1:] != ordered[:-1]) + 1
    return np.split(order, starts)


def _redraw(blocks: list[NDArray[np.int64]], rng: np.random.Generator) -> NDArray[np.int64]:
    chosen = rng.integers(len(blocks), size=len(blocks))
    return np.concatenate([blocks[index] for index in chosen])


def residual_correlation(logits: NDArray[np.float64], labels: NDArray[np.int64]) -> NDArray[np.float64]:
    """Correlation [D, D] of detectors' logits [N, D] within the classes: 1 means they err alike."""
    residuals = np.array(logits, dtype=np.float64)
    for label in (0, 1):
        residuals[labels == label] -= residuals[labels == label].mean(axis=0)
    correlation: NDArray[np.float64] = np.atleast_2d(np.corrcoef(residuals, rowvar=False))
    return correlation
