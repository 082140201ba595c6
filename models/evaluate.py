"""The tables: per generator, per real source, under re-encoding, beside what file facts alone would say.

Pictures are brought to one short side before they are judged: otherwise a detector of picture sizes
looks good (second column of every table: the AUC of file facts alone).
"""

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from functools import partial

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from models import augment, metrics
from models.calibrate import clopper_pearson
from models.layouts import Picture
from models.scoring import Change

Values = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class GeneratorRow:
    """One generator's fakes against the reals. `own` reals are of the fakes' own sources."""

    generator: str
    family: str
    fakes: int
    reals: int
    auc: float
    auc_low: float
    auc_high: float
    auc_own: float  # against reals of the same sources; nan where there are none
    facts_auc: float  # the best of the file facts alone, against the same reals
    ap: float
    tpr_at_1: float
    tpr_at_5: float
    accuracy: float  # mean of real and fake accuracy at the threshold
    fake_accuracy: float


@dataclass(frozen=True, slots=True)
class SourceRow:
    """One source of real photographs at the threshold."""

    source: str
    reals: int
    real_accuracy: float
    false_positive_rate: float
    upper: float  # one-sided 95 % bound of that rate
    median_score: float


@dataclass(frozen=True, slots=True)
class Table:
    """A whole evaluation."""

    generators: list[GeneratorRow]
    sources: list[SourceRow]
    summary: dict[str, float]


def tabulate(
    pictures: Sequence[Picture], scores: Values, *, threshold: float, draws: int = 400, seed: int = 0
) -> Table:
    """All figures of fused scores [N] in [0, 1]; flagged where score >= threshold."""
    labels = np.array([picture.label for picture in pictures], dtype=np.int64)
    facts = file_facts(pictures)
    names = sorted({picture.generator for picture in pictures if picture.label})
    rows = [_generator_row(name, pictures, scores, facts, threshold, draws, seed) for name in names]
    sources = sorted({picture.source for picture in pictures if not picture.label})
    reals = [_source_row(name, pictures, scores, threshold) for name in sources]
    return Table(rows, reals, _summary(rows, reals, scores, labels, threshold))


def _generator_row(
    name: str, pictures: Sequence[Picture], scores: Values, facts: dict[str, Values], threshold: float,
    draws: int, seed: int,
) -> GeneratorRow:  # fmt: skip
    fakes = np.array([index for index, picture in enumerate(pictures) if picture.generator == name])
    reals = np.array([index for index, picture in enumerate(pictures) if picture.label == 0])
    origins = {pictures[index].source for index in fakes}
    own = np.array([index for index in reals if pictures[index].source in origins], dtype=np.int64)
    real, fake = scores[reals], scores[fakes]
    groups = [pictures[i].group for i in reals], [pictures[i].group for i in fakes]
    interval = metrics.bootstrap(metrics.auc, real, fake, groups=groups, draws=draws, seed=seed)
    found, kept = float((fake >= threshold).mean()), float((real < threshold).mean())
    return GeneratorRow(
        generator=name,
        family=pictures[fakes[0]].family,
        fakes=len(fakes),
        reals=len(reals),
        auc=interval.value,
        auc_low=interval.low,
        auc_high=interval.high,
        auc_own=metrics.auc(scores[own], fake),
        facts_auc=max(_either_way(metrics.auc(values[reals], values[fakes])) for values in facts.values()),
        ap=metrics.average_precision(real, fake),
        tpr_at_1=metrics.tpr_at_fpr(real, fake, 0.01),
        tpr_at_5=metrics.tpr_at_fpr(real, fake, 0.05),
        accuracy=(found + kept) / 2,
        fake_accuracy=found,
    )


def _source_row(name: str, pictures: Sequence[Picture], scores: Values, threshold: float) -> SourceRow:
    chosen = [
        index for index, picture in enumerate(pictures) if picture.label == 0 and picture.source == name
    ]
    values = scores[chosen]
    flagged = int((values >= threshold).sum())
    rate, upper = flagged / len(values), clopper_pearson(flagged, len(values))
    return SourceRow(name, len(values), 1 - rate, rate, upper, float(np.median(values)))


def _summary(
    rows: Sequence[GeneratorRow], sources: Sequence[SourceRow], scores: Values, labels: NDArray[np.int64],
    threshold: float,
) -> dict[str, float]:  # fmt: skip
    own = [row.auc_own for row in rows if not np.isnan(row.auc_own)]
    return {
        "threshold": threshold,
        "macro_auc": float(np.mean([row.auc for row in rows])),
        "worst_auc": min(row.auc for row in rows),
        "macro_auc_own": float(np.mean(own)) if own else float("nan"),
        "macro_facts_auc": float(np.mean([row.facts_auc for row in rows])),
        "macro_ap": float(np.mean([row.ap for row in rows])),
        "macro_tpr_at_1": float(np.mean([row.tpr_at_1 for row in rows])),
        "macro_tpr_at_5": float(np.mean([row.tpr_at_5 for row in rows])),
        "macro_fake_accuracy": float(np.mean([row.fake_accuracy for row in rows])),
        "false_positive_rate": float((scores[labels == 0] >= threshold).mean()),
        "worst_source_false_positive_rate": max(row.false_positive_rate for row in sources),
        "ece": metrics.expected_calibration_error(scores, labels),
    }


def file_facts(pictures: Sequence[Picture]) -> dict[str, Values]:
    """What a file tells without a look at its contents: short side, aspect ratio, bytes a pixel."""
    sides, aspects, densities = [], [], []
    for picture in pictures:
        with Image.open(picture.path) as stored:
            width, height = stored.size
        sides.append(min(width, height))
        aspects.append(max(width, height) / min(width, height))
        densities.append(picture.path.stat().st_size / (width * height))
    facts = {"short_side": sides, "aspect": aspects, "bytes_per_pixel": densities}
    return {name: np.array(values, dtype=np.float64) for name, values in facts.items()}


def _either_way(value: float) -> float:
    """A fact may point either way; who exploits it would turn it round."""
    return max(value, 1 - value)


# Laundering, the same for both classes, on pictures already at the common size.
ROBUSTNESS: dict[str, Change] = {
    **{f"jpeg{quality}": partial(augment.jpeg, quality=quality) for quality in (95, 90, 80, 70, 50)},
    **{f"webp{quality}": partial(augment.webp, quality=quality) for quality in (90, 75, 50)},
    **{f"resize{scale}": partial(augment.rescaled, scale=scale) for scale in (0.5, 0.75, 1.5, 2.0)},
    **{f"blur{sigma}": partial(augment.blurred, sigma=sigma) for sigma in (1.0, 2.0)},
    "crop0.8": partial(augment.centre_crop, share=0.8),
    "screenshot": augment.screenshot,
}


@dataclass(frozen=True, slots=True)
class RobustnessRow:
    """One laundering against the untouched pictures."""

    change: str
    macro_auc: float
    real_accuracy: float
    fake_accuracy: float
    real_flips: float  # share of reals whose verdict changed
    fake_flips: float


def robustness(
    pictures: Sequence[Picture],
    score: Callable[[Change | None], Values],
    *,
    threshold: float,
    grid: dict[str, Change] = ROBUSTNESS,
) -> list[RobustnessRow]:
    """`score` gives fused scores [N] of all pictures after a change (None: untouched)."""
    clean = score(None)
    rows = [_robustness_row("none", pictures, clean, clean, threshold)]
    rows += [
        _robustness_row(name, pictures, score(change), clean, threshold) for name, change in grid.items()
    ]
    return rows


def _robustness_row(
    name: str, pictures: Sequence[Picture], scores: Values, clean: Values, threshold: float
) -> RobustnessRow:
    real = np.array([picture.label == 0 for picture in pictures])
    generators = np.array([picture.generator for picture in pictures])
    names = sorted(set(generators[~real]))
    flips = (scores >= threshold) != (clean >= threshold)
    return RobustnessRow(
        change=name,
        macro_auc=float(np.mean([metrics.auc(scores[real], scores[generators == one]) for one in names])),
        real_accuracy=float((scores[real] < threshold).mean()),
        fake_accuracy=float((scores[~real] >= threshold).mean()),
        real_flips=float(flips[real].mean()),
        fake_flips=float(flips[~real].mean()),
    )


def as_dict(table: Table, robust: Sequence[RobustnessRow] = ()) -> dict[str, object]:
    """For JSON."""
    return {
        "summary": table.summary,
        "generators": [asdict(row) for row in table.generators],
        "sources": [asdict(row) for row in table.sources],
        "robustness": [asdict(row) for row in robust],
    }
