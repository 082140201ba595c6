"""From scores to figures: AUC a held-out family, macro AUC, paired differences, all with intervals.

An interval is a bootstrap over photographs: a photograph is drawn with its doubles, in every cell that
tests it, so that cells and columns of one draw belong together and differences are paired. The spread over
seeds is told beside it; a seed changes the split, the batches and the initial weights.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from models.study.plan import DETECTORS
from models.study.scores import PROBE, Judged
from models.study.variants import VARIANTS

Draws = NDArray[np.float64]  # [1 + D]: the figure itself, then the bootstrap's
HINDSIGHT = "facts_hindsight"


@dataclass(frozen=True, slots=True)
class Figures:
    """AUC draws of every column."""

    by_cell: dict[tuple[str, str, int], Draws]  # column, held-out family, seed
    never: dict[tuple[str, str, int], Draws]  # the same cells, judged on the ready-made pictures
    columns: tuple[str, ...]
    families: tuple[str, ...]
    seeds: tuple[int, ...]

    def family(self, column: str, family: str) -> Draws:
        """Mean over seeds."""
        return _mean([self.by_cell[column, family, seed] for seed in self.seeds])

    def macro(self, column: str) -> Draws:
        """Mean over families."""
        return _mean([self.family(column, family) for family in self.families])

    def unseen(self, column: str) -> Draws:
        """On the pictures that no cell trains on, mean over all cells."""
        cells = [self.never[column, family, seed] for family in self.families for seed in self.seeds]
        return _mean(cells)

    def spread(self, column: str) -> float:
        """Standard deviation over seeds of the macro AUC."""
        by_seed = [np.mean([self.by_cell[column, f, s][0] for f in self.families]) for s in self.seeds]
        return float(np.std(by_seed, ddof=1)) if len(by_seed) > 1 else float("nan")


def _mean(draws: Sequence[Draws]) -> Draws:
    return np.asarray(np.mean(draws, axis=0), dtype=np.float64)


def figures(cells: Sequence[Judged], draws: int, seed: int = 0) -> Figures:
    """Draw photographs, and weigh every cell's pictures by them."""
    groups = {name: index for index, name in enumerate(sorted({g for c in cells for g in c.keys["group"]}))}
    weights = _weights(cells, groups, draws, seed)
    by_cell: dict[tuple[str, str, int], Draws] = {}
    never: dict[tuple[str, str, int], Draws] = {}
    for judged in cells:
        test, ready_made = (judged.keys["part"] == part for part in ("test", "never"))
        index = np.array([groups[name] for name in judged.keys["group"]])
        for fakes, into in ((test & judged.fake, by_cell), (ready_made, never)):
            reals = test & ~judged.fake
            for column, values in judged.columns.items():
                place = (column, judged.cell.family, judged.cell.seed)
                into[place] = weighted_auc(
                    values[reals], values[fakes], weights[:, index[reals]], weights[:, index[fakes]]
                )
            facts = into.get(("bytes_per_pixel", judged.cell.family, judged.cell.seed))
            if facts is not None:
                into[HINDSIGHT, judged.cell.family, judged.cell.seed] = (
                    facts if facts[0] >= 0.5 else 1 - facts
                )
    names = tuple(dict.fromkeys(column for column, _, _ in by_cell))
    families = tuple(dict.fromkeys(judged.cell.family for judged in cells))
    return Figures(by_cell, never, names, families, tuple(sorted({c.cell.seed for c in cells})))


def weighted_auc(
    real: NDArray[np.float64], fake: NDArray[np.float64], real_weights: Draws, fake_weights: Draws
) -> Draws:
    """AUC under each row of weights [D, R] and [D, F], ties counting half. nan where a class is empty."""
    wins = (fake[:, None] > real[None, :]) + 0.5 * (fake[:, None] == real[None, :])  # [F, R]
    total = real_weights.sum(axis=1) * fake_weights.sum(axis=1)
    won = np.einsum("df,df->d", fake_weights, real_weights @ wins.T)
    auc: Draws = np.divide(won, total, out=np.full(len(total), np.nan), where=total > 0)
    return auc


def _weights(cells: Sequence[Judged], groups: dict[str, int], draws: int, seed: int) -> NDArray[np.float64]:
    """[1 + D, G]: ones, then how often each photograph was drawn. Ready-made pictures are drawn apart."""
    apart = np.zeros(len(groups), dtype=bool)
    for judged in cells:
        apart[[groups[name] for name in judged.keys["group"][judged.keys["part"] == "never"]]] = True
    rng = np.random.default_rng(seed)
    weights = np.ones((1 + draws, len(groups)))
    for stratum in (apart, ~apart):
        count = int(stratum.sum())
        if count:
            weights[1:, stratum] = rng.multinomial(count, np.full(count, 1 / count), size=draws)
    return weights


def interval(draws: Draws) -> list[float]:
    """Value and the bounds of the 95 % percentile interval."""
    low, high = np.nanquantile(draws[1:], [0.025, 0.975])
    return [round(float(value), 4) for value in (draws[0], low, high)]


def tables(found: Figures) -> dict[str, Any]:
    """All figures of the main table, and the paired differences of macro AUC."""
    columns = {
        name: {
            "macro": interval(found.macro(name)),
            "spread": round(found.spread(name), 4),
            "families": {family: interval(found.family(name, family)) for family in found.families},
            "never": interval(found.unseen(name)),
        }
        for name in found.columns
    }
    pairs = [(name, other) for name, other in comparisons(found) if {name, other} <= set(found.columns)]
    differences = {f"{a} - {b}": interval(found.macro(a) - found.macro(b)) for a, b in pairs}
    return {"columns": columns, "differences": differences, "best_single": best_single(found)}


def best_single(found: Figures) -> str:
    """The detector with the highest macro AUC, chosen in hindsight: hardest on the ensemble."""
    return max(DETECTORS, key=lambda name: float(found.macro(name)[0]))


def comparisons(found: Figures) -> list[tuple[str, str]]:
    """Ensemble against everything that it should beat, methods against their ablations."""
    rivals = [PROBE, "probe_last", best_single(found), "tuned_crops", "plain_lora", "facts", HINDSIGHT]
    ensemble = [("ensemble", rival) for rival in [*rivals, "mean_logits"]]
    ablated = [(one.ablates, one.name) for one in VARIANTS if one.ablates]
    return [*ensemble, ("ensemble_with_probe", PROBE), ("ensemble_with_probe", "ensemble"), *ablated]
