"""One cell of the study: a held-out family and a seed. Its scores go to a CSV file, and are kept.

A row is a picture, a column a variant (raw logits). Parts: `validation` (families that were trained on,
other photographs), `test` (photographs of neither, and their doubles by the held-out family),
`never` (ready-made pictures that no cell trains on).
"""

import csv
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from models.data import load, split_pictures
from models.ensemble import Branch, Ensemble
from models.layouts import Picture
from models.methods import Method
from models.study.features import Features
from models.study.fitting import Tuned, bank, fit_methods, tune
from models.study.plan import ADAPT_FROM, DETECTORS, NEVER, VIEWS, Budget
from models.study.probes import facts, fit_probe
from models.study.variants import VARIANTS, Variant, build
from models.towers.registry import pretrained_tower
from models.train import folded_branch
from models.views import render_all

SHARES = (0.5, 0.15)  # of the photographs, for training and for validation
BATCH = 16
KEYS = ("part", "label", "generator", "family", "group")

Scores = dict[str, NDArray[np.float64]]  # column -> [N]


@dataclass(frozen=True, slots=True)
class Parts:
    """What a cell may see of the pictures."""

    train: list[Picture]
    validation: list[Picture]
    test: list[Picture]
    never: list[Picture]

    @property
    def judged(self) -> list[tuple[str, Picture]]:
        """All that gets a score, with the name of its part."""
        parts = {"validation": self.validation, "test": self.test, "never": self.never}
        return [(name, picture) for name, part in parts.items() for picture in part]


@dataclass(frozen=True, slots=True)
class Cell:
    """Leave `family` out, with one seed for the split, the batches and the weights."""

    family: str
    seed: int

    def parts(self, pictures: Sequence[Picture]) -> Parts:
        """Split by photograph; the family's doubles of training photographs are seen by nobody."""
        split = split_pictures(
            [picture for picture in pictures if picture.family != NEVER], seed=self.seed, shares=SHARES
        )
        train, validation = (
            [picture for picture in part if picture.family != self.family]
            for part in (split.train, split.validation)
        )
        test = [picture for picture in split.test if picture.family in ("", self.family)]
        never = [picture for picture in pictures if picture.family == NEVER]
        return Parts(train, validation, test, never)

    def scores_file(self, out: Path) -> Path:
        """Where the scores of all variants go."""
        return out / "cells" / f"{self.family}-{self.seed}.csv"

    def sweep_file(self, out: Path, share: float) -> Path:
        """Where the detectors' scores go that adapt from another block on."""
        return out / "sweep" / f"{self.family}-{self.seed}-{share:g}.csv"


def run_cell(cell: Cell, pictures: Sequence[Picture], features: Features, out: Path, budget: Budget) -> None:
    """Train and judge everything of one cell; nothing where its file is there."""
    if cell.scores_file(out).is_file():
        return
    parts = cell.parts(pictures)
    tuned = _tuned(cell, parts, out, budget)
    columns = _judge(cell, tuned, parts, budget, VARIANTS, ADAPT_FROM)
    columns |= _baselines(parts, pictures, features)
    _write(cell.scores_file(out), parts, columns)


def run_sweep(cell: Cell, pictures: Sequence[Picture], share: float, out: Path, budget: Budget) -> None:
    """The three detectors with another share of blocks left alone, on the cell's own tuned tower."""
    if cell.sweep_file(out, share).is_file():
        return
    parts = cell.parts(pictures)
    detectors = [variant for variant in VARIANTS if variant.name in DETECTORS]
    columns = _judge(cell, _tuned(cell, parts, out, budget), parts, budget, detectors, share)
    _write(cell.sweep_file(out, share), parts, columns)


def _tuned(cell: Cell, parts: Parts, out: Path, budget: Budget) -> Tuned:
    """The cell's tower, from the file where it is there."""
    file = out / "towers" / f"{cell.family}-{cell.seed}.pt"
    if not file.is_file():
        file.parent.mkdir(parents=True, exist_ok=True)
        unfinished = file.with_suffix(".part")
        torch.save(tune(parts.train, budget, cell.seed).state_dict(), unfinished)
        unfinished.replace(file)
    tuned = Tuned(pretrained_tower(budget.tower))
    tuned.load_state_dict(torch.load(file, map_location="cpu", weights_only=True))
    return tuned.requires_grad_(False).eval()


def _judge(
    cell: Cell, tuned: Tuned, parts: Parts, budget: Budget, variants: Sequence[Variant], share: float
) -> Scores:
    """Train the variants behind the prefix, fold them, and score the judged pictures."""
    tower = tuned.tower
    start = round(share * len(tower.blocks))
    banked = bank(tower, parts.train, budget, cell.seed, start)
    methods: dict[str, Method] = {
        one.name: build(one, tower, start, tuned.head(one.view), cell.seed) for one in variants
    }
    fit_methods(tower, methods, variants, banked, budget, cell.seed)
    plain = {f"tuned_{view.name}": _untouched(tuned, view.name, start) for view in VIEWS}
    branches = {**{name: folded_branch(method) for name, method in methods.items()}, **plain}
    reads = [*(one.view for one in variants), *(view.name for view in VIEWS)]
    ensemble = Ensemble(tower, list(branches.values()), list(VIEWS), reads).eval()
    logits = _logits(ensemble, [picture for _, picture in parts.judged])
    return {name: logits[:, index] for index, name in enumerate(branches)}


def _untouched(tuned: Tuned, view: str, start: int) -> Branch:
    """The tuned tower with its own head, as a column of its own: what the methods start from."""
    branch = Branch(f"tuned_{view}", tuned.tower, start, "joint")
    branch.head.load_state_dict(tuned.head(view).state_dict())
    return branch


@torch.inference_mode()
def _logits(ensemble: Ensemble, pictures: Sequence[Picture]) -> NDArray[np.float64]:
    rows = []
    for start in range(0, len(pictures), BATCH):
        rendered = [render_all(load(picture), VIEWS) for picture in pictures[start : start + BATCH]]
        stacked = {view.name: np.stack([one[view.name] for one in rendered]) for view in VIEWS}
        rows.append(ensemble({name: torch.from_numpy(pixels) for name, pixels in stacked.items()}))
    return torch.cat(rows).double().numpy()


def _baselines(parts: Parts, pictures: Sequence[Picture], features: Features) -> Scores:
    """Linear probes on the frozen tower and on file facts, fitted on the same training pictures."""
    row = {picture.path: index for index, picture in enumerate(pictures)}
    train, validation, judged = (
        np.array([row[picture.path] for picture in part])
        for part in (parts.train, parts.validation, [picture for _, picture in parts.judged])
    )
    labels, truth = _labels(parts.train), _labels(parts.validation)
    copies = features.last.shape[1]
    columns: Scores = {}
    for name, values in (("probe_last", features.last), ("probe_blocks", features.blocks)):
        rows = values[train].reshape(len(train) * copies, -1)
        line = fit_probe(rows, np.repeat(labels, copies), values[validation, 0], truth)
        columns[name] = line(values[judged, 0])
    told = facts(pictures)
    columns["facts"] = fit_probe(told[train], labels, told[validation], truth)(told[judged])
    columns["bytes_per_pixel"] = told[judged, 2]
    return columns


def _labels(pictures: Sequence[Picture]) -> NDArray[np.int64]:
    return np.array([picture.label for picture in pictures], dtype=np.int64)


def _write(file: Path, parts: Parts, columns: Scores) -> None:
    """Written beside and moved over."""
    file.parent.mkdir(parents=True, exist_ok=True)
    unfinished = file.with_suffix(".part")
    with unfinished.open("w", newline="", encoding="utf-8") as stream:
        writer = csv.writer(stream)
        writer.writerow([*KEYS, *columns])
        for index, (part, picture) in enumerate(parts.judged):
            keys = (part, picture.label, picture.generator, picture.family, picture.group)
            writer.writerow([*keys, *(f"{values[index]:.4f}" for values in columns.values())])
    unfinished.replace(file)
