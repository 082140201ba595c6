"""Thresholds with a guarantee on real photographs, for each source of them and for all. No torch here.

The method is split-conformal prediction with one class (Vovk, Gammerman and Shafer 2005, "Algorithmic
Learning in a Random World"; Lei et al. 2018, JASA 113, section 2). Let s be a score that was fixed
before the n calibration reals were looked at, and let a new real be exchangeable with them. With

    value = just above the ceil((n + 1)(1 - target))-th smallest of their n scores,

    P(s(new) >= value) <= target.

It holds for every n and every distribution, ties included, and is an equality with
floor((n + 1) target) / (n + 1) on the right where no two scores are equal. What it does not say:

- It is marginal: an average over the draw of the n reals too. What one set of reals proves is `upper`.
- It is for photographs drawn as these were: one camera, site or decade more, and nothing is promised.
- It speaks of reals alone: how many synthetic pictures are found is measured, not guaranteed.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.stats import beta, binom

from models.calibrate import CalibrationError

Scores = NDArray[np.float64]  # [N]

ALL = "all"  # all sources together
LEAST = 40  # reals of one source, below which its count is tested instead of getting a conformal rank


@dataclass(frozen=True, slots=True)
class Threshold:
    """Flag where score >= value, as serving does."""

    group: str  # a source of reals, or ALL
    value: float
    target: float  # false-positive rate aimed at for this group
    reals: int
    above: int  # how many of the group's reals may lie at or above the value
    upper: float  # upper bound of the group's true rate, at the confidence asked for


def conformal_threshold(
    reals: Scores, target: float, confidence: float = 0.95, group: str = ALL
) -> Threshold:
    """The lowest threshold that a new real, exchangeable with these, passes with probability <= `target`.

    Raises CalibrationError where there are too few reals for any (fewer than 1 / target - 1).
    """
    count = len(reals)
    rank = int(np.ceil((count + 1) * (1 - target) - 1e-9))
    if rank > count:
        needed = int(np.ceil(1 / target - 1e-9)) - 1
        raise CalibrationError(f"a rate of {target:g} needs at least {needed} real pictures, not {count}")
    return _above(reals, count - rank, target, confidence, group)


def chance_threshold(reals: Scores, target: float, confidence: float, group: str) -> Threshold:
    """The lowest threshold at which the number of these reals that it flags may still be chance.

    For sources too small for a rank of their own: of 13 reals one may be flagged at a rate of 1 % (one
    source in eight has that), two may not (one in 130). P(Binomial(n, target) >= flagged) > 1 - confidence.
    """
    count = len(reals)
    above = 0
    while above < count and binom.sf(above, count, target) > 1 - confidence:
        above += 1
    return _above(reals, above, target, confidence, group)


def source_thresholds(
    reals: Scores, sources: Sequence[str], target: float, confidence: float = 0.95
) -> list[Threshold]:
    """One threshold for all reals and one a source; the highest keeps the promise of every one of them.

    A source of LEAST reals or more has its own conformal threshold (where it has too few for the rate: at
    the lowest rate that it can speak of, none flagged); a smaller one that of chance, so that even a source
    of three pictures cannot be flagged as a whole unnoticed. Raises CalibrationError where all reals
    together are too few.
    """
    names = np.asarray(sources)
    found = [conformal_threshold(reals, target, confidence)]
    for name in np.unique(names).tolist():
        group = reals[names == name]
        if len(group) < LEAST:
            found.append(chance_threshold(group, target, confidence, name))
        else:
            rate = max(target, 1 / (len(group) + 1))
            found.append(conformal_threshold(group, rate, confidence, name))
    return found


def highest(thresholds: Sequence[Threshold]) -> Threshold:
    """The one that decides."""
    return max(thresholds, key=lambda one: one.value)


def clopper_pearson(flagged: int, count: int, confidence: float = 0.95) -> float:
    """One-sided upper bound of a rate of which `flagged` in `count` were seen (Clopper and Pearson 1934)."""
    return 1.0 if flagged >= count else float(beta.ppf(confidence, flagged + 1, count - flagged))


def _above(reals: Scores, above: int, target: float, confidence: float, group: str) -> Threshold:
    """The threshold that leaves the `above` highest reals, and as few ties as possible, at or above it.

    Its bound is exact although the threshold was chosen on the same reals: the true rate above the k-th
    highest of n scores has a Beta(k, n + 1 - k) distribution (Wilks 1941), whose quantile is that of
    Clopper and Pearson; ties and higher thresholds only lower the rate.
    """
    upper = clopper_pearson(above, len(reals), confidence)
    if above >= len(reals):  # any count may be chance: this group asks for nothing
        return Threshold(group, 0.0, target, len(reals), above, upper)
    value = float(np.nextafter(np.sort(reals)[::-1][above], np.inf))
    return Threshold(group, value, target, len(reals), above, upper)
