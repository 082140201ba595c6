"""Thresholds with a guarantee on real photographs, for each source of them and for all. No torch here.

Pictures of one photograph (crops, copies, sizes) are no independent witnesses, so photographs count: each
has the weight one, shared by its pictures. Let a score be fixed before the n calibration photographs are
looked at, let a new photograph be exchangeable with them, and let S(t) be the sum over the n of the share
of a photograph's pictures that score t or more. With the lowest t for which

    (S(t) + 1) / (n + 1) <= target,        P(a picture of the new photograph scores >= t) <= target.

That is conformal risk control (Angelopoulos et al. 2022, arXiv 2208.02814, Theorem 1); with one picture a
photograph it is split-conformal prediction (Vovk, Gammerman and Shafer 2005; Lei et al. 2018, section 2),
t lies just above the ceil((n + 1)(1 - target))-th smallest score, and without ties the probability is
floor((n + 1) target) / (n + 1) exactly. It holds for every n and every distribution. What it does not say:

- It is marginal: an average over the draw of the n photographs too. `upper` says what one set shows.
- It is for photographs drawn as these were: one camera, site or decade more, and nothing is promised.
- It speaks of reals alone: how many synthetic pictures are found is measured, not guaranteed.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.stats import beta, binom

from models.calibrate import CalibrationError

ALL = "all"  # all sources together
LEAST = 20  # photographs of one source, below which their number is tested instead of being ranked
ROUNDING = 1e-9


@dataclass(frozen=True, slots=True)
class Reals:
    """Scored pictures of real photographs, N of them."""

    scores: NDArray[np.float64]  # [N]
    sources: NDArray[np.str_]  # [N]
    photographs: NDArray[np.str_]  # [N]: pictures of one photograph share a name

    @property
    def count(self) -> int:
        """How many photographs."""
        return len(np.unique(self.photographs))

    def of(self, source: str) -> "Reals":
        """Those of one source."""
        own = self.sources == source
        return Reals(self.scores[own], self.sources[own], self.photographs[own])


@dataclass(frozen=True, slots=True)
class Threshold:
    """Flag where score >= value, as serving does."""

    group: str  # a source of reals, or ALL
    value: float
    target: float  # false-positive rate aimed at for this group
    photographs: int
    above: int  # of them, those with a picture at or above the value
    upper: float  # upper bound of their true share, at the confidence asked for


def conformal_threshold(reals: Reals, target: float, confidence: float = 0.95, group: str = ALL) -> Threshold:
    """The lowest threshold that keeps the promise above.

    Raises CalibrationError where there are too few photographs for any (fewer than 1 / target - 1).
    """
    allowed = (reals.count + 1) * target - 1
    if allowed < -ROUNDING:
        needed = int(np.ceil(1 / target - ROUNDING)) - 1
        raise CalibrationError(f"a rate of {target:g} needs at least {needed} photographs, not {reals.count}")
    return _leaving(reals, allowed, target, confidence, group)


def chance_threshold(reals: Reals, target: float, confidence: float, group: str) -> Threshold:
    """The lowest threshold at which the number of these photographs that it flags may still be chance.

    For sources too small for a rank of their own: of 13 photographs one may be flagged at a rate of 1 % (one
    source in eight has that), two may not (one in 130). P(Binomial(n, target) >= flagged) > 1 - confidence.
    """
    allowed = 0
    while allowed < reals.count and binom.sf(allowed, reals.count, target) > 1 - confidence:
        allowed += 1
    return _leaving(reals, allowed, target, confidence, group)


def source_thresholds(reals: Reals, target: float, confidence: float = 0.95) -> list[Threshold]:
    """One threshold for all reals, then one a source; the highest keeps the promise of every one of them.

    A source of LEAST photographs or more has its own conformal threshold (where it has too few for the
    rate: that of the lowest rate that it can speak of, none flagged). A smaller one has that of chance, so
    that even a source of three pictures cannot be flagged as a whole unnoticed. Raises CalibrationError
    where all together are too few.
    """
    found = [conformal_threshold(reals, target, confidence)]
    for name in np.unique(reals.sources).tolist():
        own = reals.of(name)
        if own.count < LEAST:
            found.append(chance_threshold(own, target, confidence, name))
        else:
            rate = max(target, 1 / (own.count + 1))
            found.append(conformal_threshold(own, rate, confidence, name))
    return found


def highest(thresholds: Sequence[Threshold]) -> Threshold:
    """The one that decides."""
    return max(thresholds, key=lambda one: one.value)


def clopper_pearson(flagged: int, count: int, confidence: float = 0.95) -> float:
    """One-sided upper bound of a rate of which `flagged` in `count` were seen (Clopper and Pearson 1934)."""
    return 1.0 if flagged >= count else float(beta.ppf(confidence, flagged + 1, count - flagged))


def _leaving(reals: Reals, allowed: float, target: float, confidence: float, group: str) -> Threshold:
    """The lowest threshold above which photographs of a total weight of at most `allowed` lie.

    Its bound holds although the threshold was chosen on the same reals: the true rate above the k-th
    highest of n scores has a Beta(k, n + 1 - k) distribution (Wilks 1941), whose quantile is that of
    Clopper and Pearson; ties and higher thresholds only lower the rate.
    """
    _, which, sizes = np.unique(reals.photographs, return_inverse=True, return_counts=True)
    order = np.argsort(-reals.scores, kind="stable")
    over = np.flatnonzero(np.cumsum(1 / sizes[which][order]) > allowed + ROUNDING)
    value = float(np.nextafter(reals.scores[order[over[0]]], np.inf)) if len(over) else 0.0
    above = len(np.unique(reals.photographs[reals.scores >= value]))
    upper = clopper_pearson(above, reals.count, confidence)
    return Threshold(group, value, target, reals.count, above, upper)
