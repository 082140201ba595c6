"""Figures that compare a detector's scores on real and on synthetic pictures. No torch here.

Every function takes scores where higher means "more synthetic". `real` and `fake` are 1-D arrays.
"""

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


def residual_correlation(logits: NDArray[np.float64], labels: NDArray[np.int64]) -> NDArray[np.float64]:
    """Correlation [D, D] of detectors' logits [N, D] within the classes: 1 means they err alike."""
    residuals = np.array(logits, dtype=np.float64)
    for label in (0, 1):
        residuals[labels == label] -= residuals[labels == label].mean(axis=0)
    spread = residuals.std(axis=0)
    residuals /= np.where(
        spread > 0, spread, np.nan
    )  # a detector that says the same of all pictures has none
    return np.asarray(residuals.T @ residuals / len(residuals), dtype=np.float64)
