"""An evaluation for the terminal."""

from collections.abc import Iterable, Sequence

from rich.console import Console
from rich.table import Table as Grid

from models.evaluation.comparison import MethodRow
from models.evaluation.contenders import ENSEMBLE
from models.evaluation.robustness import RobustnessRow
from models.evaluation.run import Evaluation
from models.evaluation.strata import StratumRow
from models.evaluation.tables import GeneratorRow
from models.metrics import Interval


def show(found: Evaluation, console: Console) -> None:
    """The tables for people, the most telling first."""
    trained = found.trained_on
    console.print(_methods(found.comparison))
    console.print(_generators(found.fused.generators, trained))
    console.print(_sources(found, trained))
    console.print(_strata(found.strata))
    if found.robust:
        console.print(_robust([row for row in found.robust if row.method == ENSEMBLE]))
    console.print(_correlation(found))
    if trained:
        console.print("* the bundle was trained on pictures of this kind")
    for name, value in found.fused.summary.items():
        console.print(f"{name:>34} {value:.3f}")
    console.print(f"{'real_flips_jpeg90':>34} {found.flips[0].rate:.3f}")


def _methods(rows: Sequence[MethodRow]) -> Grid:
    names = ("method", "AUC [95 %]", "less the ensemble", "own reals", "AP", "TPR@1%", "TPR@5%")
    cells = (
        (row.method, wide(row.figures.auc), wide(row.difference), number(row.auc_own),
         *_values(row.figures.ap, row.figures.tpr_at_1, row.figures.tpr_at_5,
                  row.figures.real_accuracy, row.figures.fake_accuracy, row.figures.ece),
         f"{row.worst_generator} {number(row.worst_auc.value)}")
        for row in rows
    )  # fmt: skip
    return _grid("Methods, mean over generators", (*names, "real kept", "fake found", "ECE", "worst"), cells)


def _generators(rows: Sequence[GeneratorRow], trained: frozenset[str]) -> Grid:
    names = (
        "generator",
        "family",
        "n",
        "AUC [95 %]",
        "own reals",
        "facts",
        "AP",
        "TPR@1%",
        "TPR@5%",
        "found",
    )
    cells = (
        (starred(row.generator, trained), row.family, str(row.fakes), wide(row.figures.auc),
         *_values(row.auc_own), number(row.facts_auc),
         *_values(row.figures.ap, row.figures.tpr_at_1, row.figures.tpr_at_5, row.figures.fake_accuracy,
                  row.figures.ece))
        for row in rows
    )  # fmt: skip
    return _grid("Synthetic, by generator (ensemble)", (*names, "ECE"), cells)


def _sources(found: Evaluation, trained: frozenset[str]) -> Grid:
    flips = {row.source: row for row in found.flips}
    cells = (
        (starred(row.source, trained), str(row.reals), number(row.false_positive_rate), number(row.upper),
         number(row.median_score), number(flips[row.source].rate))
        for row in found.fused.sources
    )  # fmt: skip
    names = ("source", "n", "flagged", "at most (95 %)", "median score", "flips at q90")
    return _grid("Real, by source (ensemble)", names, cells)


def _strata(rows: Sequence[StratumRow]) -> Grid:
    cells = (
        (row.dimension, row.stratum, str(row.reals), str(row.fakes), wide(row.figures.auc),
         *_values(row.figures.real_accuracy, row.figures.fake_accuracy), number(row.real_flips))
        for row in rows
    )  # fmt: skip
    names = ("by", "stratum", "reals", "fakes", "AUC [95 %]", "real kept", "fake found", "flips at q90")
    return _grid("Strata of the files (ensemble)", names, cells)


def _robust(rows: Sequence[RobustnessRow]) -> Grid:
    cells = (
        (row.change, *map(number, (row.macro_auc, row.worst_auc, row.real_accuracy, row.fake_accuracy,
                                   row.real_flips, row.fake_flips)))
        for row in rows
    )  # fmt: skip
    names = ("change", "macro AUC", "worst AUC", "real kept", "fake found", "real flips", "fake flips")
    return _grid("Re-encoded (ensemble)", names, cells)


def _correlation(found: Evaluation) -> Grid:
    rows = found.correlation.tolist()
    cells = ((name, *map(number, row)) for name, row in zip(found.members, rows, strict=True))
    return _grid("Residual correlation: 1 means that two err alike", ("", *found.members), cells)


def number(value: float) -> str:
    """Three decimals; a dash for what cannot be computed."""
    return "-" if value != value else f"{value:.3f}"


def wide(one: Interval) -> str:
    """A figure with its interval."""
    return "-" if one.value != one.value else f"{one.value:.3f} [{one.low:.3f}, {one.high:.3f}]"


def starred(name: str, trained: frozenset[str]) -> str:
    return f"{name} *" if name in trained else name


def _values(*intervals: Interval) -> tuple[str, ...]:
    return tuple(number(one.value) for one in intervals)


def _grid(title: str, columns: Sequence[str], rows: Iterable[Sequence[str]]) -> Grid:
    grid = Grid(title=title, title_justify="left")
    for index, column in enumerate(columns):
        grid.add_column(column, justify="left" if index == 0 else "right")
    for row in rows:
        grid.add_row(*row)
    return grid
