"""From the scores of real photographs to a policy, and what it flags of each source. No torch here."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from models.calibrate import CalibrationError
from models.resave import QUALITY
from models.spec import PolicySpec
from models.thresholds import ALL, Reals, Threshold, highest, source_thresholds


@dataclass(frozen=True, slots=True)
class Rates:
    """False-positive rates on real photographs that the thresholds are set for, and how sure of them."""

    synthetic: float = 0.01
    suspicious: float = 0.1  # of reals that are called suspicious or synthetic
    disagreement: float = 0.0  # of the suspicious ones: those that disagreement alone may make so; 0: none
    confidence: float = 0.95  # of the bounds, and of the test of small sources
    recheck: int | None = QUALITY  # JPEG quality of the copies; None: a verdict rests on one score


@dataclass(frozen=True, slots=True)
class SourceRow:
    """What the policy flags of one source's reals, of those that it was set on."""

    source: str
    photographs: int
    pictures: int
    synthetic: int  # of the pictures
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


def choose_policy(name: str, reals: Reals, spreads: NDArray[np.float64], rates: Rates) -> Chosen:
    """Thresholds for reals that the score was not fitted on.

    Their fused scores and the distances [N] between their detectors' log-odds are those that the policy
    will see: with `rates.recheck`, the lower of a picture's and of its copy's. A picture is flagged for
    its score or for its spread, so the two share `rates.suspicious`. Raises CalibrationError where there
    are too few photographs for a rate, or one of them scores 1.
    """
    by_score = rates.suspicious - rates.disagreement
    upper = source_thresholds(reals, rates.synthetic, rates.confidence)
    lower = source_thresholds(reals, by_score, rates.confidence)
    distances = replace(reals, scores=spreads)
    apart = source_thresholds(distances, rates.disagreement, rates.confidence) if rates.disagreement else []
    synthetic, suspicious = highest(upper), highest(lower)
    if synthetic.value > 1:
        raise CalibrationError(
            f"a real picture of {synthetic.group} scores 1: no threshold keeps a rate of {rates.synthetic:g}"
        )
    policy = PolicySpec(
        id=f"{name}/1",
        suspicious=min(suspicious.value, synthetic.value),
        synthetic=synthetic.value,
        basis=_basis(len(spreads), upper, lower, rates),
        disagreement=highest(apart).value if apart else None,
        recheck=rates.recheck,
    )
    flags = _flags(policy, reals.scores, spreads)
    return Chosen(policy, synthetic, suspicious, _rows(flags, reals, upper, lower, apart))


def _basis(pictures: int, upper: Sequence[Threshold], lower: Sequence[Threshold], rates: Rates) -> str:
    seen = (
        "" if rates.recheck is None else f", the lower of its score and that of a JPEG {rates.recheck} copy"
    )
    return (
        f"at most {rates.synthetic:.1%} of real photographs called synthetic (shown at "
        f"{rates.confidence:.0%} confidence: {upper[0].upper:.1%}; {_decider(upper)}) and "
        f"{rates.suspicious:.1%} suspicious or synthetic ({_decider(lower)}), set on {pictures} pictures of "
        f"{upper[0].photographs} photographs of {len(upper) - 1} sources, none of them trained on{seen}; "
        "photographs from elsewhere may be flagged more often"
    )


def _decider(thresholds: Sequence[Threshold]) -> str:
    one = highest(thresholds)
    return "all together decided" if one.group == ALL else f"the source {one.group} decided"


def _flags(
    policy: PolicySpec, scores: NDArray[np.float64], spreads: NDArray[np.float64]
) -> NDArray[np.int64]:
    """[N]: 2 synthetic, 1 suspicious, 0 neither."""
    wide = spreads >= (np.inf if policy.disagreement is None else policy.disagreement)
    flagged = (scores >= policy.suspicious) | wide
    return flagged.astype(np.int64) + (scores >= policy.synthetic)


def _rows(
    flags: NDArray[np.int64],
    reals: Reals,
    upper: Sequence[Threshold],
    lower: Sequence[Threshold],
    apart: Sequence[Threshold],
) -> list[SourceRow]:
    """One row a group. Its bounds are those of its own thresholds: the ones in force are no lower."""
    rows = []
    for index, (high, low) in enumerate(zip(upper, lower, strict=True)):
        found = flags if high.group == ALL else flags[reals.sources == high.group]
        bound = min(1.0, low.upper + (apart[index].upper if apart else 0.0))
        counts = len(found), int((found == 2).sum()), int((found > 0).sum())
        rows.append(SourceRow(high.group, high.photographs, *counts, high.upper, bound))
    return rows
