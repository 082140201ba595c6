"""Evaluate a bundle on a folder of labelled pictures: tables for the terminal, CSV and JSON for machines."""

import csv
import json
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table as RichTable

from models import metrics
from models.bundle import Bundle
from models.data import NOTHING, Holdout, split_pictures
from models.evaluate import GeneratorRow, RobustnessRow, Table, as_dict, robustness, tabulate
from models.layouts import Picture, scan
from models.scoring import Change, Engine, open_engine, probabilities, score

Part = Literal["all", "train", "validation", "test", "unseen"]


@dataclass(frozen=True, slots=True)
class Evaluation:
    """The fused ensemble's table, one a detector, the robustness grid, and who errs like whom."""

    fused: Table
    detectors: dict[str, Table]
    robust: list[RobustnessRow]
    correlation: NDArray[np.float64]  # [D, D] of residuals


def choose(root: Path, part: Part, holdout: Holdout = NOTHING) -> list[Picture]:
    """The pictures of one part of a data set. Raises LayoutError."""
    pictures = scan(root)
    return pictures if part == "all" else list(getattr(split_pictures(pictures, holdout=holdout), part))


def evaluate_bundle(
    bundle: Bundle,
    pictures: Sequence[Picture],
    *,
    engine: Engine = "onnxruntime",
    short_side: int = 256,
    grid: dict[str, Change] | None = None,
    progress: Callable[[int], None] | None = None,
) -> Evaluation:
    """Every table of one bundle. Each entry of `grid` (say evaluate.ROBUSTNESS) scores all pictures again.

    A detector's own table is at probability one half of its calibrated logit; the fused one is at the
    policy's `synthetic` threshold. `progress` is told how many pictures were scored.
    """
    manifest = bundle.manifest
    run = open_engine(bundle, engine)

    def fused(change: Change | None) -> NDArray[np.float64]:
        logits = score(run, manifest.views, pictures, short_side=short_side, change=change, progress=progress)
        return probabilities(manifest, logits)

    logits = score(run, manifest.views, pictures, short_side=short_side, progress=progress)
    threshold = manifest.policy.synthetic
    single = {
        detector.name: tabulate(
            pictures, _sigmoid(detector.slope * logits[:, index] + detector.intercept), threshold=0.5
        )
        for index, detector in enumerate(manifest.detectors)
    }
    labels = np.array([picture.label for picture in pictures], dtype=np.int64)
    return Evaluation(
        fused=tabulate(pictures, probabilities(manifest, logits), threshold=threshold),
        detectors=single,
        robust=robustness(pictures, fused, threshold=threshold, grid=grid) if grid else [],
        correlation=metrics.residual_correlation(logits, labels),
    )


def _sigmoid(values: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.asarray(0.5 * (1 + np.tanh(values / 2)), dtype=np.float64)


def write(evaluation: Evaluation, out: Path) -> None:
    """metrics.json, generators.csv, sources.csv and robustness.csv into `out`."""
    out.mkdir(parents=True, exist_ok=True)
    whole = {
        **as_dict(evaluation.fused, evaluation.robust),
        "detectors": {name: as_dict(table) for name, table in evaluation.detectors.items()},
        "residual_correlation": evaluation.correlation.tolist(),
    }
    (out / "metrics.json").write_text(json.dumps(_finite(whole), indent=2) + "\n", encoding="utf-8")
    _csv(out / "generators.csv", evaluation.fused.generators)
    _csv(out / "sources.csv", evaluation.fused.sources)
    _csv(out / "robustness.csv", evaluation.robust)


def _finite(value: Any) -> Any:
    """JSON has no nan: what cannot be computed is null."""
    if isinstance(value, dict):
        return {key: _finite(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_finite(item) for item in value]
    return None if isinstance(value, float) and not np.isfinite(value) else value


def _csv(file: Path, rows: Sequence[Any]) -> None:
    if not rows:
        return
    with file.open("w", newline="", encoding="utf-8") as stream:
        writer = csv.DictWriter(stream, list(asdict(rows[0])))
        writer.writeheader()
        writer.writerows(asdict(row) for row in rows)


def show(evaluation: Evaluation, console: Console) -> None:
    """The tables for people."""
    table = evaluation.fused
    columns = (
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
    console.print(_grid("Synthetic, by generator", columns, [_cells(row) for row in table.generators]))
    reals = [
        (
            row.source,
            str(row.reals),
            f"{row.false_positive_rate:.3f}",
            f"{row.upper:.3f}",
            f"{row.median_score:.3f}",
        )
        for row in table.sources
    ]
    console.print(
        _grid("Real, by source", ("source", "n", "flagged", "at most (95 %)", "median score"), reals)
    )
    if evaluation.robust:
        names = ("change", "macro AUC", "real kept", "fake found", "real flips", "fake flips")
        console.print(_grid("Re-encoded", names, [_robust_cells(row) for row in evaluation.robust]))
    for name, value in table.summary.items():
        console.print(f"{name:>34} {value:.3f}")
    for name, single in evaluation.detectors.items():
        console.print(f"{name:>34} macro AUC {single.summary['macro_auc']:.3f}")


def _cells(row: GeneratorRow) -> tuple[str, ...]:
    interval = f"{row.auc:.3f} [{row.auc_low:.3f}, {row.auc_high:.3f}]"
    figures = (row.auc_own, row.facts_auc, row.ap, row.tpr_at_1, row.tpr_at_5, row.fake_accuracy)
    return (row.generator, row.family, str(row.fakes), interval, *(f"{figure:.3f}" for figure in figures))


def _robust_cells(row: RobustnessRow) -> tuple[str, ...]:
    figures = (row.macro_auc, row.real_accuracy, row.fake_accuracy, row.real_flips, row.fake_flips)
    return (row.change, *(f"{figure:.3f}" for figure in figures))


def _grid(title: str, columns: Sequence[str], rows: Sequence[Sequence[str]]) -> RichTable:
    grid = RichTable(title=title, title_justify="left")
    for index, column in enumerate(columns):
        grid.add_column(column, justify="left" if index == 0 else "right")
    for row in rows:
        grid.add_row(*row)
    return grid
