"""Files of the published layouts, made here at small size, against the published forward passes."""

import pickle
from pathlib import Path

import pytest
import timm
import torch

from models.importing import dgs_net, effort, univfd
from models.importing.clip_tower import read_as_imagenet
from models.importing.preprocessing import Given, of_transformers
from models.importing.timm_file import import_community_forensics
from models.towers.clip import clip_weights, tower_of
from models.towers.vit import MEAN, STD
from models.towers.weights import WeightsError, read_weights
from tests.unit.published_files import (
    IMAGENET,
    JOINT,
    SIZE,
    WIDTH,
    below_visual,
    dgs_file,
    effort_file,
    normalised,
    openai_forward,
    openai_visual,
)

PIXELS = torch.randint(0, 256, (2, 3, SIZE, SIZE), generator=torch.Generator().manual_seed(0)).float()


@pytest.mark.parametrize("merged", [0, 1])
def test_dgs_net_gives_the_published_logits_merged_or_not(merged: int) -> None:
    state, visual, changes = dgs_file(merged)
    found = dgs_net.convert("file", state, None)
    tower = tower_of(found.tower, "file")
    read_as_imagenet(tower)
    logits = tower.joint(tower(PIXELS)) @ found.head_weight.T + found.head_bias
    published = openai_forward(visual, normalised(PIXELS, *IMAGENET), changes)
    assert found.merged is bool(merged)
    assert (logits - (published @ state["img_fc.weight"].T + 1)).abs().max() < 1e-4


def test_dgs_net_merged_twice_is_refused_with_what_was_seen() -> None:
    with pytest.raises(WeightsError, match=r"2\.00 to 2\.00 times"):
        dgs_net.convert("file", dgs_file(2)[0], None)


def test_dgs_net_without_its_teacher_needs_the_clip_file() -> None:
    state, visual, _ = dgs_file(1, teacher=False)
    with pytest.raises(WeightsError, match="--clip-weights"):
        dgs_net.convert("file", state, None)
    assert dgs_net.convert("file", state, clip_weights(below_visual(visual), "file")).merged
    with pytest.raises(WeightsError, match="not the CLIP"):
        dgs_net.convert("file", state, clip_weights(below_visual(openai_visual(9)), "file"))


def test_dgs_net_of_stage_one_and_strange_names_are_refused() -> None:
    state = dgs_file(0)[0]
    with pytest.raises(WeightsError, match="stage 1"):
        dgs_net.convert("file", {n: v for n, v in state.items() if "lora" not in n}, None)
    wrong = {n: v for n, v in state.items() if n != "img_fc.bias"} | {"surprise": torch.ones(1)}
    with pytest.raises(WeightsError, match=r"missing img_fc\.bias; unexpected surprise"):
        dgs_net.convert("file", wrong, None)


@pytest.mark.parametrize(("tree", "classes"), [("deepfake", 2), ("universal", 1)])
def test_effort_gives_the_published_logits(tree: str, classes: int, tmp_path: Path) -> None:
    state, model, head = effort_file(tree, classes)
    torch.save({f"module.{name}": value for name, value in state.items()}, tmp_path / "effort.pth")
    found = effort.convert("file", read_weights(tmp_path / "effort.pth"))
    assert (found.tree, found.rank) == (tree, 1)
    found.tower.setdefault("projection.weight", torch.zeros(JOINT, WIDTH))
    logits = tower_of(found.tower, "file")(PIXELS) @ found.head_weight.T + found.head_bias
    pixels = normalised(PIXELS, torch.tensor(MEAN) / 255, torch.tensor(STD) / 255)
    with torch.no_grad():
        published = head(model(pixels).pooler_output)
    if classes == 2:
        published = published[:, 1:] - published[:, :1]
    assert (logits - published).abs().max() < 1e-4


def test_effort_with_half_a_residual_is_refused() -> None:
    state = effort_file("universal", 1)[0]
    del state["model.vision_model.encoder.layers.0.self_attn.q_proj.U_residual"]
    with pytest.raises(WeightsError, match=r"missing .*q_proj\.U_residual"):
        effort.convert("file", state)


@pytest.mark.parametrize("prefix", ["", "fc."])
def test_univfd_reads_its_head_and_refuses_another_towers(prefix: str) -> None:
    state = {f"{prefix}weight": torch.ones(1, JOINT), f"{prefix}bias": torch.zeros(1)}
    assert univfd.is_univfd(state)
    assert univfd.convert("file", state, JOINT)[0].shape == (1, JOINT)
    with pytest.raises(WeightsError, match="joint embedding has 768"):
        univfd.convert("file", state, 768)


class _Evil:
    def __reduce__(self) -> tuple[object, tuple[str]]:
        return print, ("code ran",)


def test_a_pickle_that_needs_code_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    torch.save({"model": {"w": torch.ones(1)}, "extra": _Evil()}, tmp_path / "bad.pt")
    with pytest.raises(WeightsError, match="would run code"):
        read_weights(tmp_path / "bad.pt")
    (tmp_path / "worse.pt").write_bytes(pickle.dumps(_Evil(), protocol=2))
    with pytest.raises(WeightsError):
        read_weights(tmp_path / "worse.pt")
    assert "code ran" not in capsys.readouterr().out


def test_community_forensics_is_read_with_its_own_preprocessing(tmp_path: Path) -> None:
    """Its ViT-S/16 at 224 pixels, as the authors' models.py makes it; timm's own numbers would be others."""
    net = timm.create_model("vit_small_patch16_224", num_classes=1).eval()
    torch.save({f"vit.{name}": value for name, value in net.state_dict().items()}, tmp_path / "model.pt")
    found = import_community_forensics(tmp_path / "model.pt", Given())
    assert (found.view.size, found.view.resize, found.view.resample) == (224, 256, "bilinear")
    view = torch.randint(0, 256, (1, 224, 224, 3), dtype=torch.uint8)
    with torch.no_grad():
        published = net(normalised(view.permute(0, 3, 1, 2).float(), *IMAGENET))
        assert (found.net({found.view.name: view}) - published).abs().max() < 1e-4


@pytest.mark.parametrize(
    ("config", "size", "resize", "fit"),
    [
        ({"size": {"height": 224, "width": 224}}, 224, 224, "squash"),
        ({"size": {"shortest_edge": 256}, "do_center_crop": True, "crop_size": 224}, 224, 256, "crop"),
        ({"size": {"shortest_edge": 224}, "crop_pct": 0.875}, 224, 256, "crop"),
        ({"do_resize": False, "do_center_crop": True, "crop_size": 224}, 224, 224, "native"),
    ],
)
def test_the_geometry_of_a_preprocessor_is_followed(
    config: dict[str, object], size: int, resize: int, fit: str
) -> None:
    whole = {"image_mean": [0.5] * 3, "image_std": [0.5] * 3, **config}
    found = of_transformers("file", whole)
    assert (found.size, found.resize, found.fit) == (size, resize, fit)


def test_a_preprocessor_that_cannot_be_followed_is_refused() -> None:
    with pytest.raises(WeightsError, match="not square"):
        of_transformers("file", {"size": {"shortest_edge": 224}})
    with pytest.raises(WeightsError, match="scaled to 0"):
        of_transformers("file", {"size": 224, "do_rescale": False})
