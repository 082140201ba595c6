"""One method's table: a row a generator and a row a source of reals, and what they come to.

Pictures are brought to one short side before they are judged, else a detector of picture sizes looks good;
the AUC of file facts alone stands in every row.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from models import metrics
from models.evaluation.contenders import Method
from models.evaluation.facts import FileFacts, fact_scores, facts_auc, read_facts
from models.evaluation.figures import Figures, Sampled, compare, macro
from models.evaluation.resampling import Weights, auc, draw_weights, gather, interval
from models.layouts import Picture
from models.metrics import Interval
from models.thresholds import clopper_pearson

Values = NDArray[np.float64]
Indices = NDArray[np.int64]
DRAWS = 400


@dataclass(frozen=True, slots=True)
class Panel:
    """The pictures of one evaluation, with what every table needs of them."""

    pictures: Sequence[Picture]
    facts: Sequence[FileFacts]
    scores_of_facts: dict[str, Values]
    weights: Weights  # [B, N], the draws of the bootstrap: the same for all tables
    labels: NDArray[np.int64]  # [N]

    @property
    def reals(self) -> Indices:
        return np.flatnonzero(self.labels == 0).astype(np.int64)

    @property
    def generators(self) -> list[str]:
        return sorted({picture.generator for picture in self.pictures if picture.label})

    def fakes_of(self, generator: str) -> Indices:
        chosen = [i for i, p in enumerate(self.pictures) if p.label and p.generator == generator]
        return np.array(chosen, dtype=np.int64)


def panel(pictures: Sequence[Picture], draws: int = DRAWS, seed: int = 0) -> Panel:
    """Reads the header of every file."""
    facts = [read_facts(picture) for picture in pictures]
    weights = draw_weights([picture.group for picture in pictures], draws, seed)
    labels = np.array([picture.label for picture in pictures], dtype=np.int64)
    return Panel(pictures, facts, fact_scores(facts), weights, labels)


@dataclass(frozen=True, slots=True)
class GeneratorRow:
    """One generator's fakes against all reals; `auc_own`: against reals of the fakes' own sources only."""

    generator: str
    family: str
    fakes: int
    reals: int
    figures: Figures
    auc_own: Interval  # nan where there are no such reals
    facts_auc: float  # the best of the file facts alone, against the same reals


@dataclass(frozen=True, slots=True)
class SourceRow:
    """One source of real photographs at the threshold."""

    source: str
    reals: int
    real_accuracy: float
    false_positive_rate: float
    upper: float  # one-sided 95 % Clopper-Pearson bound of that rate
    median_score: float


@dataclass(frozen=True, slots=True)
class Table:
    """One method's rows."""

    generators: list[GeneratorRow]
    sources: list[SourceRow]
    summary: dict[str, float]
    sampled: Sampled  # the macro means, with their draws, so that methods can be compared on the same ones

    @property
    def macro(self) -> Figures:
        return self.sampled.figures()

    @property
    def worst(self) -> GeneratorRow:
        """The generator that is told apart least."""
        return min(self.generators, key=lambda row: row.figures.auc.value)


def tabulate(on: Panel, method: Method) -> Table:
    """Every row of one method."""
    sampled = {name: compare(method.scores, on.reals, on.fakes_of(name), on.weights, method.threshold)
               for name in on.generators}  # fmt: skip
    rows = [_generator_row(name, on, method, sampled[name].figures()) for name in on.generators]
    sources = sorted({picture.source for picture in on.pictures if not picture.label})
    reals = [_source_row(name, on, method) for name in sources]
    return Table(rows, reals, _summary(rows, reals, on, method), macro(list(sampled.values())))


def _generator_row(name: str, on: Panel, method: Method, figures: Figures) -> GeneratorRow:
    fakes, reals = on.fakes_of(name), on.reals
    origins = {on.pictures[index].source for index in fakes}
    own = np.array([index for index in reals if on.pictures[index].source in origins], dtype=np.int64)
    return GeneratorRow(
        generator=name,
        family=on.pictures[fakes[0]].family,
        fakes=len(fakes),
        reals=len(reals),
        figures=figures,
        auc_own=auc_with_interval(method.scores, own, fakes, on.weights),
        facts_auc=facts_auc(on.scores_of_facts, reals, fakes),
    )


def auc_with_interval(scores: Values, reals: Indices, fakes: Indices, weights: Weights) -> Interval:
    """The AUC alone; nan where a class is missing."""
    value = metrics.auc(scores[reals], scores[fakes])
    if np.isnan(value):
        return Interval(value, value, value)
    return interval(value, auc(gather(scores[reals], scores[fakes], weights[:, reals], weights[:, fakes])))


def _source_row(name: str, on: Panel, method: Method) -> SourceRow:
    chosen = [i for i, p in enumerate(on.pictures) if p.label == 0 and p.source == name]
    values = method.scores[chosen]
    flagged = int((values >= method.threshold).sum())
    rate, upper = flagged / len(values), clopper_pearson(flagged, len(values))
    return SourceRow(name, len(values), 1 - rate, rate, upper, float(np.median(values)))


def _summary(
    rows: Sequence[GeneratorRow], sources: Sequence[SourceRow], on: Panel, method: Method
) -> dict[str, float]:
    own = [row.auc_own.value for row in rows if not np.isnan(row.auc_own.value)]
    scores, labels = method.scores, on.labels

    def mean(name: str) -> float:
        return float(np.mean([getattr(row.figures, name).value for row in rows]))

    return {
        "threshold": method.threshold,
        "macro_auc": mean("auc"),
        "worst_auc": min(row.figures.auc.value for row in rows),
        "macro_auc_own": float(np.mean(own)) if own else float("nan"),
        "macro_facts_auc": float(np.mean([row.facts_auc for row in rows])),
        "macro_ap": mean("ap"),
        "macro_tpr_at_1": mean("tpr_at_1"),
        "macro_tpr_at_5": mean("tpr_at_5"),
        "macro_fake_accuracy": mean("fake_accuracy"),
        "false_positive_rate": float((scores[labels == 0] >= method.threshold).mean()),
        "worst_source_false_positive_rate": max(row.false_positive_rate for row in sources),
        "ece": metrics.expected_calibration_error(scores, labels),
    }
