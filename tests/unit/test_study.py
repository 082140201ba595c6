"""The study in miniature: few pictures, few steps; its figures against definitions."""

import itertools
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from models.data import load
from models.layouts import scan
from models.metrics import auc
from models.study.cell import Cell
from models.study.page import BEGIN, END, outside, write_page
from models.study.plan import FULL, NEVER, SIDE
from models.study.results import weighted_auc
from models.study.run import run_study, write_results
from models.study.scores import read_scores
from tests.unit.picture_files import photo

MINI = replace(
    FULL,
    families={"subpixel": ("subpixel",), "nearest": ("nearest_conv",), "own_vae": ("own_vae",)},
    photographs={"squares": 14},
    ready_made={"portraits_sd3": 3},
    copies=1,
    vae_photographs=2,
    vae_steps=2,
    tune_steps=1,
    method_steps=2,
    pairs=1,
    bank=1,
    seeds=(0,),
    draws=20,
    sweep=(),
)


@pytest.fixture(scope="module")
def ran(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder in which the miniature study has run."""
    root = tmp_path_factory.mktemp("study")
    for source, count in {"squares": 20, "portraits_sd3": 3}.items():
        (root / "data" / source).mkdir(parents=True)
        for index in range(count):
            picture = Image.fromarray(photo(300, 260, seed=index))
            picture.save(root / "data" / source / f"{index:03}.png")
    run_study(root / "data", root / "out", MINI, lambda line: None)
    return root / "out"


def test_every_picture_has_one_size_and_parts_share_no_photograph(ran: Path) -> None:
    pictures = scan(ran / "pictures")
    assert {load(picture).shape for picture in pictures} == {(SIDE, SIDE, 3)}
    parts = Cell("subpixel", 0).parts(pictures)
    groups = [{one.group for one in part} for part in (parts.train, parts.validation, parts.test)]
    for one, other in itertools.combinations(groups, 2):
        assert not one & other
    assert "subpixel" not in {one.family for one in [*parts.train, *parts.validation]}
    assert NEVER not in {one.family for one in parts.train}
    assert {one.family for one in parts.test} == {"", "subpixel"}


def test_results_follow_from_the_recorded_scores(ran: Path, tmp_path: Path) -> None:
    found = write_results(ran, tmp_path / "results", MINI)
    assert json.loads((tmp_path / "results/results.json").read_text(encoding="utf-8"))["columns"]
    cells = read_scores(tmp_path / "results/scores.csv")
    assert [judged.cell.family for judged in cells] == list(MINI.families)
    for judged in cells:
        test = judged.keys["part"] == "test"
        logits, fake = judged.columns["ensemble"][test], judged.fake[test]
        documented = found["columns"]["ensemble"]["families"][judged.cell.family][0]
        assert auc(logits[~fake], logits[fake]) == pytest.approx(documented, abs=0.02)  # three decimals


def test_the_page_is_rewritten_between_its_markers_and_checked(ran: Path, tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text(f"before\n{BEGIN}\nold\n{END}\nafter\n", encoding="utf-8")
    found = write_results(ran, tmp_path / "results", MINI)
    write_page(page, found)
    text = page.read_text(encoding="utf-8")
    assert text.startswith("before\n")
    assert text.endswith("after\n")
    assert "old" not in text
    assert "PiN-CLIP" in text
    moved = json.loads(json.dumps(found))
    moved["columns"]["masm"]["macro"] = [2.0, 2.0, 2.0]
    new = set(outside(moved, found)) - set(
        outside(found, found)
    )  # 20 draws of few pictures may miss a figure
    assert [line.partition(":")[0] for line in new] == ["masm, macro"]


def test_a_finished_cell_is_not_run_again(ran: Path) -> None:
    files = {file: file.stat().st_mtime_ns for file in (ran / "cells").iterdir()}
    assert len(files) == len(MINI.families)
    run_study(ran.parent / "data", ran, MINI, lambda line: None)
    assert {file: file.stat().st_mtime_ns for file in files} == files


def test_weights_count_pictures_as_often_as_they_were_drawn() -> None:
    rng = np.random.default_rng(0)
    real, fake = rng.normal(size=6), rng.normal(size=5).round(1)
    counts = rng.integers(0, 3, size=(4, 11)).astype(float)
    counts[:, [0, 6]] += 1
    weighted = weighted_auc(real, fake, counts[:, :6], counts[:, 6:])
    for row, value in zip(counts.astype(int), weighted, strict=True):
        assert value == pytest.approx(auc(np.repeat(real, row[:6]), np.repeat(fake, row[6:])))
