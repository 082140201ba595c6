"""From the scores of real photographs to a policy, and what it flags of each source. No torch here."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from models.calibrate import CalibrationError
from models.spec import PolicySpec
from models.thresholds import ALL, Threshold, highest, source_thresholds

Scores = NDArray[np.float64]  # [N]


@dataclass(frozen=True, slots=True)
class Rates:
    """False-positive rates on real photographs that the thresholds are set for, and how sure of them."""

    synthetic: float = 0.01
    suspicious: float = 0.1  # of reals that are called suspicious or synthetic
    confidence: float = 0.95  # of the bounds, and of the test of small sources


@dataclass(frozen=True, slots=True)
class SourceRow:
    """What the policy flags of one source's reals, of those that it was set on."""

    source: str
    reals: int
    synthetic: int
    flagged: int  # suspicious or synthetic
    synthetic_at_most: float  # upper bounds of the true rates, at the confidence of `Rates`
    flagged_at_most: float


@dataclass(frozen=True, slots=True)
class Chosen:
    """A policy, and where it comes from."""

    policy: PolicySpec
    synthetic: Threshold  # of the group of reals that asked for the highest
    suspicious: Threshold
    rows: list[SourceRow]  # all reals together first, then one a source


def choose_policy(name: str, reals: Scores, sources: Sequence[str], rates: Rates) -> Chosen:
    """Thresholds for fused scores [N] of reals of these sources [N], which the score was not fitted on.

    Raises CalibrationError where there are too few reals for a rate, or one of them scores 1.
    """
    upper = source_thresholds(reals, sources, rates.synthetic, rates.confidence)
    lower = source_thresholds(reals, sources, rates.suspicious, rates.confidence)
    synthetic, suspicious = highest(upper), highest(lower)
    if synthetic.value > 1:
        raise CalibrationError(
            f"a real picture of {synthetic.group} scores 1: no threshold keeps a rate of {rates.synthetic:g}"
        )
    policy = PolicySpec(
        id=f"{name}/1",
        suspicious=min(suspicious.value, synthetic.value),
        synthetic=synthetic.value,
        basis=_basis(upper, lower, rates),
    )
    return Chosen(policy, synthetic, suspicious, _rows(reals, sources, policy, upper, lower))


def _basis(upper: Sequence[Threshold], lower: Sequence[Threshold], rates: Rates) -> str:
    return (
        f"at most {rates.synthetic:.1%} of real photographs called synthetic (proved at "
        f"{rates.confidence:.0%} confidence: {upper[0].upper:.1%}; {_decider(upper)}) and "
        f"{rates.suspicious:.1%} suspicious or synthetic (proved: {lower[0].upper:.1%}; {_decider(lower)}), "
        f"set on {upper[0].reals} photographs of {len(upper) - 1} sources, none of them trained on; "
        "photographs from elsewhere may be flagged more often"
    )


def _decider(thresholds: Sequence[Threshold]) -> str:
    one = highest(thresholds)
    return "all together decided" if one.group == ALL else f"the source {one.group} decided"


def _rows(
    reals: Scores,
    sources: Sequence[str],
    policy: PolicySpec,
    upper: Sequence[Threshold],
    lower: Sequence[Threshold],
) -> list[SourceRow]:
    """One row a group of the thresholds; each bound is that of the group's own threshold, or lower."""
    names, rows = np.asarray(sources), []
    for high, low in zip(upper, lower, strict=True):
        scores = reals if high.group == ALL else reals[names == high.group]
        synthetic, flagged = (int((scores >= cut).sum()) for cut in (policy.synthetic, policy.suspicious))
        rows.append(SourceRow(high.group, len(scores), synthetic, flagged, high.upper, low.upper))
    return rows
