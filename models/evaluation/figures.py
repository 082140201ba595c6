"""The eight figures of a comparison of reals with fakes, each with its bootstrap interval."""

from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Any

import numpy as np
from numpy.typing import NDArray

from models import metrics
from models.evaluation import resampling
from models.evaluation.resampling import Masses, Weights, interval
from models.metrics import Interval

Values = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Figures:
    """What one set of reals and fakes says of a score; nan where a class is missing."""

    auc: Interval
    ap: Interval
    tpr_at_1: Interval  # share of fakes found where 1 % of the reals here are flagged
    tpr_at_5: Interval
    accuracy: Interval  # mean of the next two
    real_accuracy: Interval  # share of reals below the threshold
    fake_accuracy: Interval  # share of fakes at or above it
    ece: Interval  # expected calibration error, the classes weighed alike


NAMES = tuple(field.name for field in fields(Figures))


def plain_figures(real: Values, fake: Values, threshold: float) -> dict[str, float]:
    """Every figure of the pictures as they are."""
    kept = float((real < threshold).mean()) if len(real) else float("nan")
    found = float((fake >= threshold).mean()) if len(fake) else float("nan")
    labels = np.repeat(np.array([0, 1], dtype=np.int64), [len(real), len(fake)])
    both = len(real) > 0 and len(fake) > 0
    joined = np.concatenate([real, fake])
    return {
        "auc": metrics.auc(real, fake),
        "ap": metrics.average_precision(real, fake),
        "tpr_at_1": metrics.tpr_at_fpr(real, fake, 0.01),
        "tpr_at_5": metrics.tpr_at_fpr(real, fake, 0.05),
        "accuracy": (kept + found) / 2,
        "real_accuracy": kept,
        "fake_accuracy": found,
        "ece": metrics.expected_calibration_error(joined, labels) if both else float("nan"),
    }


def drawn_figures(masses: Masses, threshold: float) -> dict[str, Values]:
    """The same in each draw of the bootstrap, [B] each."""
    kept = 1 - resampling.share_flagged(masses.levels, masses.real, threshold)
    found = resampling.share_flagged(masses.levels, masses.fake, threshold)
    return {
        "auc": resampling.auc(masses),
        "ap": resampling.average_precision(masses),
        "tpr_at_1": resampling.tpr_at_fpr(masses, 0.01),
        "tpr_at_5": resampling.tpr_at_fpr(masses, 0.05),
        "accuracy": (kept + found) / 2,
        "real_accuracy": kept,
        "fake_accuracy": found,
        "ece": resampling.calibration_error(masses),
    }


@dataclass(frozen=True, slots=True)
class Sampled:
    """Figures of one comparison: the values themselves, and the values in each draw."""

    values: dict[str, float]
    drawn: dict[str, Values]  # [B] each

    def figures(self) -> Figures:
        made: dict[str, Any] = {name: interval(self.values[name], self.drawn[name]) for name in NAMES}
        return Figures(**made)


def compare(
    scores: Values, reals: NDArray[np.int64], fakes: NDArray[np.int64], weights: Weights, threshold: float
) -> Sampled:
    """Figures of the pictures at `reals` and `fakes` (indices into scores [N] and weights [B, N])."""
    masses = resampling.gather(scores[reals], scores[fakes], weights[:, reals], weights[:, fakes])
    return Sampled(plain_figures(scores[reals], scores[fakes], threshold), drawn_figures(masses, threshold))


def macro(samples: Sequence[Sampled]) -> Sampled:
    """The plain mean over generators, in each draw too: a generator with few pictures counts as much."""
    values = {name: _mean(np.array([[one.values[name]] for one in samples])).item() for name in NAMES}
    drawn = {name: _mean(np.stack([one.drawn[name] for one in samples])) for name in NAMES}
    return Sampled(values, drawn)


def _mean(rows: Values) -> Values:
    """[G, B] -> [B], over the generators that have the figure (a draw may leave a small one out)."""
    known = np.isfinite(rows)
    counts, sums = known.sum(axis=0), np.where(known, rows, 0.0).sum(axis=0)
    mean: Values = np.divide(sums, counts, out=np.full(len(counts), np.nan), where=counts > 0)
    return mean
