"""The bootstrap: groups of pictures drawn with replacement, all draws at once.

One photograph gives several copies and several re-syntheses, which are not independent of each other: a
draw takes or leaves a photograph as a whole, with all that was made of it (the cluster bootstrap: Field and
Welsh 2007, "Bootstrapping clustered data"). A draw is a weight a picture, how often its group was taken, so
that every figure of every table can be computed from the same draws, and two methods be compared on them.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from models.metrics import Interval

Weights = NDArray[np.float32]  # [B, N]: B draws, N pictures
Values = NDArray[np.float64]


def draw_weights(groups: Sequence[str], draws: int, seed: int) -> Weights:
    """How often each picture was drawn, [draws, N]: the same for the pictures of one group."""
    names, member = np.unique(np.asarray(groups), return_inverse=True)
    rng = np.random.default_rng(seed)
    taken = rng.multinomial(len(names), np.full(len(names), 1 / len(names)), size=draws)  # [B, G]
    return taken[:, member].astype(np.float32)


def interval(value: float, drawn: Values, level: float = 0.95) -> Interval:
    """The percentile interval of a figure from its value in each draw [B]. nan where no draw has one."""
    known = drawn[np.isfinite(drawn)]
    if not len(known):
        return Interval(value, float("nan"), float("nan"))
    low, high = np.quantile(known, [(1 - level) / 2, (1 + level) / 2])
    return Interval(value, float(low), float(high))


@dataclass(frozen=True, slots=True)
class Masses:
    """Weighted scores, gathered by distinct score: what every figure below is computed from."""

    levels: Values  # [L] distinct scores, ascending
    real: Values  # [B, L] weight of the reals at each score
    fake: Values  # [B, L]

    @property
    def reals(self) -> Values:
        """Total weight of the reals, [B, 1]."""
        return np.asarray(self.real.sum(axis=1, keepdims=True), dtype=np.float64)

    @property
    def fakes(self) -> Values:
        return np.asarray(self.fake.sum(axis=1, keepdims=True), dtype=np.float64)


def gather(real: Values, fake: Values, real_weights: Weights, fake_weights: Weights) -> Masses:
    """Scores [R] and [F] with weights [B, R] and [B, F]."""
    levels = np.unique(np.concatenate([real, fake]))
    return Masses(levels, _by_level(levels, real, real_weights), _by_level(levels, fake, fake_weights))


def _by_level(levels: Values, scores: Values, weights: Weights) -> Values:
    order = np.argsort(scores, kind="stable")
    running = np.cumsum(weights[:, order], axis=1, dtype=np.float64)  # [B, N]
    running = np.concatenate([np.zeros((len(weights), 1)), running], axis=1)
    up_to = np.searchsorted(scores[order], levels, side="right")  # [L]
    return np.asarray(np.diff(running[:, up_to], axis=1, prepend=0), dtype=np.float64)


def _share(part: Values, whole: Values) -> Values:
    """part / whole; nan where a draw left a class without a picture."""
    out = np.full(np.broadcast(part, whole).shape, np.nan)
    return np.asarray(np.divide(part, whole, out=out, where=whole > 0), dtype=np.float64)


def auc(masses: Masses) -> Values:
    """`metrics.auc` in each draw, [B]."""
    below = np.cumsum(masses.real, axis=1) - masses.real / 2
    return _share((below * masses.fake).sum(axis=1), (masses.reals * masses.fakes)[:, 0])


def average_precision(masses: Masses) -> Values:
    """`metrics.average_precision` in each draw, [B]."""
    hits = np.cumsum(masses.fake[:, ::-1], axis=1)
    alarms = np.cumsum(masses.real[:, ::-1], axis=1)
    precision = np.divide(hits, hits + alarms, out=np.zeros_like(hits), where=hits > 0)
    found = _share((masses.fake[:, ::-1] * precision).sum(axis=1), masses.fakes[:, 0])
    return np.where(masses.reals[:, 0] > 0, found, np.nan)


def tpr_at_fpr(masses: Masses, fpr: float) -> Values:
    """`metrics.tpr_at_fpr` in each draw, [B]."""
    real_above = masses.reals - np.cumsum(masses.real, axis=1)  # [B, L]
    fake_above = masses.fakes - np.cumsum(masses.fake, axis=1)
    lowest = np.argmax(real_above <= fpr * masses.reals + 1e-9, axis=1)  # the first level that is high enough
    found = _share(fake_above[np.arange(len(lowest)), lowest], masses.fakes[:, 0])
    return np.where(masses.reals[:, 0] > 0, found, np.nan)


def share_flagged(levels: Values, mass: Values, threshold: float) -> Values:
    """The share with a score of at least `threshold`, [B], of the weights [B, L] of one class."""
    return _share(mass[:, levels >= threshold].sum(axis=1), mass.sum(axis=1))


def calibration_error(masses: Masses, bins: int = 15) -> Values:
    """`metrics.expected_calibration_error` in each draw, [B]; scores are probabilities."""
    index = np.minimum((masses.levels * bins).astype(int), bins - 1)
    real = _share(masses.real * masses.levels, 2 * masses.reals)
    fake = _share(masses.fake * (masses.levels - 1), 2 * masses.fakes)
    into = (index[:, None] == np.arange(bins)).astype(np.float64)  # [L, bins]
    return np.asarray(np.abs((real + fake) @ into).sum(axis=1), dtype=np.float64)
