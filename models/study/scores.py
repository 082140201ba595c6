"""Score files: raw logits of a cell -> fused columns -> docs/study/*.csv, from which every table follows."""

import csv
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from models.calibrate import fit_fusion, fit_platt
from models.study.cell import KEYS, Cell
from models.study.plan import DETECTORS

Values = NDArray[np.float64]
PROBE = "probe_blocks"
ENSEMBLES: dict[str, tuple[str, ...]] = {"ensemble": DETECTORS, "ensemble_with_probe": (*DETECTORS, PROBE)}


@dataclass(frozen=True, slots=True)
class Judged:
    """Rows of one cell: keys and columns, all of the same length."""

    cell: Cell
    keys: dict[str, NDArray[np.str_]]
    columns: dict[str, Values]

    @property
    def fake(self) -> NDArray[np.bool_]:
        """[N], whether each picture is synthetic."""
        return np.asarray(self.keys["label"] == "1", dtype=np.bool_)

    def only(self, rows: NDArray[np.bool_]) -> "Judged":
        """The rows of a mask."""
        keys = {name: values[rows] for name, values in self.keys.items()}
        return Judged(self.cell, keys, {name: values[rows] for name, values in self.columns.items()})


def read_cell(cell: Cell, file: Path) -> Judged:
    """One cell's file."""
    with file.open(newline="", encoding="utf-8") as stream:
        rows = list(csv.DictReader(stream))
    return _judged(cell, rows)


def fuse(judged: Judged) -> tuple[Judged, dict[str, dict[str, float]]]:
    """Add the ensembles, fitted on the validation pictures, and drop those; also returns their weights.

    Each detector gets its Platt line; `mean_logits` is the mean of those; the stacking is the product's
    (non-negative, strength chosen on held-out training families).
    """
    inside = judged.only(judged.keys["part"] == "validation")
    outside = judged.only(judged.keys["part"] != "validation")
    labels = inside.fake.astype(np.int64)
    added: dict[str, Values] = {}
    weights: dict[str, dict[str, float]] = {}
    for ensemble, members in ENSEMBLES.items():
        if not set(members) <= set(inside.columns):  # the sweep has no probe
            continue
        lines = {name: fit_platt(inside.columns[name], labels) for name in members}
        known, new = (
            np.stack([lines[name].apply(part.columns[name]) for name in members], axis=1)
            for part in (inside, outside)
        )
        fusion = fit_fusion(known, labels, inside.keys["family"].tolist())
        added[ensemble] = new @ fusion.weights + fusion.bias
        weights[ensemble] = dict(zip(members, fusion.weights.tolist(), strict=True))
        if members == DETECTORS:
            added["mean_logits"] = new.mean(axis=1)
    return Judged(outside.cell, outside.keys, {**outside.columns, **added}), weights


def write_scores(file: Path, cells: Iterable[Judged]) -> None:
    """All cells in one file, logits to three decimals."""
    file.parent.mkdir(parents=True, exist_ok=True)
    with file.open("w", newline="", encoding="utf-8") as stream:
        writer = csv.writer(stream, lineterminator="\n")
        for index, judged in enumerate(cells):
            if index == 0:
                writer.writerow(["held_out", "seed", *KEYS, *judged.columns])
            for row in range(len(judged.fake)):
                keys = [values[row] for values in judged.keys.values()]
                logits = [f"{values[row]:.3f}" for values in judged.columns.values()]
                writer.writerow([judged.cell.family, judged.cell.seed, *keys, *logits])


def read_scores(file: Path) -> list[Judged]:
    """The cells of a file that `write_scores` wrote."""
    grouped: dict[Cell, list[dict[str, str]]] = {}
    with file.open(newline="", encoding="utf-8") as stream:
        for row in csv.DictReader(stream):
            grouped.setdefault(Cell(row.pop("held_out"), int(row.pop("seed"))), []).append(row)
    return [_judged(cell, rows) for cell, rows in grouped.items()]


def _judged(cell: Cell, rows: Sequence[dict[str, str]]) -> Judged:
    keys = {name: np.array([row[name] for row in rows]) for name in KEYS}
    names = [name for name in rows[0] if name not in KEYS]
    return Judged(cell, keys, {name: np.array([float(row[name]) for row in rows]) for name in names})
