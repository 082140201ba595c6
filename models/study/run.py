"""The study from beginning to end: pictures, features, cells, sweep; then figures from the score files."""

import csv
import datetime
import json
import platform
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import torch

from models.layouts import scan
from models.study.cell import Cell, run_cell, run_sweep
from models.study.features import frozen_features
from models.study.pictures import make_pictures
from models.study.plan import ADAPT_FROM, DETECTORS, Budget
from models.study.results import figures, interval, tables
from models.study.scores import fuse, read_cell, write_scores

TIMES = "times.csv"

Made = TypeVar("Made")


def run_study(data: Path, out: Path, budget: Budget, progress: Callable[[str], None]) -> None:
    """Pictures, features, cells, sweep. Raises SynthesisError."""
    out.mkdir(parents=True, exist_ok=True)
    folder = _timed(out, "pictures", lambda: make_pictures(data, out, budget, progress))
    pictures = scan(folder)
    features = _timed(out, "features", lambda: frozen_features(pictures, out, budget, progress))
    for cell in cells(budget):
        progress(f"cell {cell.family}, seed {cell.seed}")
        _timed(out, "cells", lambda cell=cell: run_cell(cell, pictures, features, out, budget))  # type: ignore[misc]
    for cell in cells(budget, first_seed=True):
        for share in budget.sweep:
            progress(f"adapters from {share:.0%} of the blocks on: {cell.family}")
            _timed(out, "sweep", lambda c=cell, s=share: run_sweep(c, pictures, s, out, budget))  # type: ignore[misc]


def cells(budget: Budget, *, first_seed: bool = False) -> list[Cell]:
    """Seed by seed, so that a run that is cut off has whole leave-one-out rounds."""
    seeds = budget.seeds[:1] if first_seed else budget.seeds
    return [Cell(family, seed) for seed in seeds for family in budget.families]


def write_results(out: Path, results: Path, budget: Budget) -> dict[str, Any]:
    """scores.csv, sweep.csv and results.json; returns what the last one holds."""
    fused = [fuse(read_cell(cell, cell.scores_file(out))) for cell in cells(budget)]
    judged = [one for one, _ in fused]
    write_scores(results / "scores.csv", judged)
    found = tables(figures(judged, budget.draws))
    found["weights"] = {f"{one.cell.family}-{one.cell.seed}": weights for one, weights in fused}
    found["sweep"] = _sweep(out, results, budget)
    found["run"] = _facts(out, budget)
    (results / "results.json").write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    return found


def _sweep(out: Path, results: Path, budget: Budget) -> dict[str, dict[str, list[float]]]:
    """Macro AUC of the three detectors and their ensemble by share of the blocks left alone."""
    rows: dict[str, dict[str, list[float]]] = {}
    for share in (*budget.sweep, ADAPT_FROM):
        some = []
        for cell in cells(budget, first_seed=True):
            file = cell.scores_file(out) if share == ADAPT_FROM else cell.sweep_file(out, share)
            some.append(fuse(read_cell(cell, file))[0])
        if share != ADAPT_FROM:
            write_scores(results / f"sweep-{share:g}.csv", some)
        found = figures(some, budget.draws)
        rows[f"{share:g}"] = {name: interval(found.macro(name)) for name in (*DETECTORS, "ensemble")}
    return rows


def _facts(out: Path, budget: Budget) -> dict[str, Any]:
    """Where, when and for how long."""
    seconds: dict[str, float] = {}
    with (out / TIMES).open(newline="", encoding="utf-8") as stream:
        for stage, cpu in csv.reader(stream):
            seconds[stage] = seconds.get(stage, 0.0) + float(cpu)
    return {
        "photographs": sum(budget.photographs.values()),
        "cells": len(cells(budget)),
        "draws": budget.draws,
        "cpu_seconds": {stage: round(value) for stage, value in seconds.items()},
        "machine": _processor(),
        "date": datetime.datetime.now(datetime.UTC).date().isoformat(),
        "torch": torch.__version__,
    }


def _timed(out: Path, stage: str, do: Callable[[], Made]) -> Made:
    """Note the CPU seconds that a stage took: a run may be made in several goes."""
    began = time.process_time()
    made = do()
    with (out / TIMES).open("a", newline="", encoding="utf-8") as stream:
        csv.writer(stream).writerow([stage, f"{time.process_time() - began:.1f}"])
    return made


def _processor() -> str:
    """The processor's name, where the system tells it."""
    listed = Path("/proc/cpuinfo")
    if listed.is_file():
        for line in listed.read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()
