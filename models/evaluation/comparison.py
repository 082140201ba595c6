"""All methods in one table, each with its difference from the ensemble on the same draws."""

from collections.abc import Mapping
from dataclasses import dataclass

from models.evaluation.contenders import ENSEMBLE, Method
from models.evaluation.figures import Figures
from models.evaluation.resampling import interval
from models.evaluation.tables import Table
from models.metrics import Interval


@dataclass(frozen=True, slots=True)
class MethodRow:
    """One method, macro mean over generators."""

    method: str
    what: str
    figures: Figures
    auc_own: float
    worst_generator: str
    worst_auc: Interval
    difference: (
        Interval  # macro AUC less that of the ensemble; an interval around 0 means: no difference shown
    )


def method_rows(methods: Mapping[str, Method], tables: Mapping[str, Table]) -> list[MethodRow]:
    """In the order given."""
    return [_row(method, tables[name], tables[ENSEMBLE]) for name, method in methods.items()]


def _row(method: Method, table: Table, ensemble: Table) -> MethodRow:
    mine, theirs = table.sampled, ensemble.sampled
    less = mine.values["auc"] - theirs.values["auc"]
    return MethodRow(
        method=method.name,
        what=method.what,
        figures=table.macro,
        auc_own=table.summary["macro_auc_own"],
        worst_generator=table.worst.generator,
        worst_auc=table.worst.figures.auc,
        difference=interval(less, mine.drawn["auc"] - theirs.drawn["auc"]),
    )
