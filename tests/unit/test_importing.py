"""Files of the published layouts, made here at small size, against the published forward passes."""

import copy
import math
import pickle
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn
from transformers import CLIPVisionConfig, CLIPVisionModel

from models.importing import dgs_net, effort, univfd
from models.importing.clip_tower import read_as_imagenet
from models.towers.clip import clip_weights, tower_of
from models.towers.vit import MEAN, STD
from models.towers.weights import State, WeightsError, read_weights

WIDTH, BLOCKS, JOINT, PATCH, SIZE, RANK = 64, 2, 24, 16, 64, 3
TOKENS = (SIZE // PATCH) ** 2 + 1
PIXELS = torch.randint(0, 256, (2, 3, SIZE, SIZE), generator=torch.Generator().manual_seed(0)).float()
IMAGENET = torch.tensor([0.485, 0.456, 0.406]), torch.tensor([0.229, 0.224, 0.225])


def normalised(mean: Tensor, std: Tensor) -> Tensor:
    return (PIXELS / 255 - mean.view(1, 3, 1, 1)) / std.view(1, 3, 1, 1)


def openai_visual(seed: int = 0) -> State:
    """An image tower under OpenAI's names, below `visual.`."""
    g = torch.Generator().manual_seed(seed)
    shapes: dict[str, tuple[int, ...]] = {
        "class_embedding": (WIDTH,),
        "positional_embedding": (TOKENS, WIDTH),
        "proj": (WIDTH, JOINT),
        "conv1.weight": (WIDTH, 3, PATCH, PATCH),
    }
    for norm in ("ln_pre", "ln_post"):
        shapes |= {f"{norm}.weight": (WIDTH,), f"{norm}.bias": (WIDTH,)}
    for index in range(BLOCKS):
        at = f"transformer.resblocks.{index}."
        shapes |= {f"{at}ln_{n}.{p}": (WIDTH,) for n in (1, 2) for p in ("weight", "bias")}
        shapes |= {f"{at}attn.in_proj_weight": (3 * WIDTH, WIDTH), f"{at}attn.in_proj_bias": (3 * WIDTH,)}
        shapes |= {f"{at}attn.out_proj.weight": (WIDTH, WIDTH), f"{at}attn.out_proj.bias": (WIDTH,)}
        shapes |= {f"{at}mlp.c_fc.weight": (4 * WIDTH, WIDTH), f"{at}mlp.c_fc.bias": (4 * WIDTH,)}
        shapes |= {f"{at}mlp.c_proj.weight": (WIDTH, 4 * WIDTH), f"{at}mlp.c_proj.bias": (WIDTH,)}
    return {name: 0.1 * torch.randn(shape, generator=g) for name, shape in shapes.items()}


def below_visual(visual: State) -> State:
    """As a whole CLIP names them."""
    return {f"visual.{name}": tensor for name, tensor in visual.items()}


def openai_forward(visual: State, pixels: Tensor, changes: dict[tuple[int, str], Tensor]) -> Tensor:
    """The published forward with torch's own attention; `changes` are added to q, k, v."""
    x = nn.functional.conv2d(pixels, visual["conv1.weight"], stride=PATCH).flatten(2).transpose(1, 2)
    x = torch.cat([visual["class_embedding"].expand(len(x), 1, -1), x], 1) + visual["positional_embedding"]

    def norm(x: Tensor, name: str) -> Tensor:
        return nn.functional.layer_norm(x, (WIDTH,), visual[f"{name}.weight"], visual[f"{name}.bias"])

    x = norm(x, "ln_pre")
    for index in range(BLOCKS):
        at = f"transformer.resblocks.{index}."
        attention = nn.MultiheadAttention(WIDTH, 1, batch_first=True)
        state = {name.removeprefix(f"{at}attn."): v for name, v in visual.items() if f"{at}attn." in name}
        delta = torch.cat([changes.get((index, part), torch.zeros(WIDTH, WIDTH)) for part in "qkv"])
        attention.load_state_dict({**state, "in_proj_weight": state["in_proj_weight"] + delta})
        h = norm(x, f"{at}ln_1")
        x = x + attention(h, h, h, need_weights=False)[0]
        h = nn.functional.linear(
            norm(x, f"{at}ln_2"), visual[f"{at}mlp.c_fc.weight"], visual[f"{at}mlp.c_fc.bias"]
        )
        h = h * torch.sigmoid(1.702 * h)
        x = x + nn.functional.linear(h, visual[f"{at}mlp.c_proj.weight"], visual[f"{at}mlp.c_proj.bias"])
    return norm(x[:, 0], "ln_post") @ visual["proj"]


def dgs_file(merged: int, *, teacher: bool = True) -> tuple[State, State, dict[tuple[int, str], Tensor]]:
    """A stage-2 file whose stored weights hold LoRA `merged` times, its CLIP, and the changes."""
    visual, g = openai_visual(), torch.Generator().manual_seed(1)
    state: State = {"img_fc.weight": torch.randn(1, JOINT, generator=g), "img_fc.bias": torch.ones(1)}
    state |= {"text_fc.weight": torch.randn(1, JOINT), "text_fc.bias": torch.zeros(1)}
    state |= {"clip_model.logit_scale": torch.ones(()), "clip_model.positional_embedding": torch.zeros(7, 8)}
    changes = {}
    for name, value in visual.items():
        if "in_proj" not in name:
            state["clip_model.visual." + name.replace("attn.out_proj", "attn.proj")] = value
            continue
        at, leaf = name.rsplit("in_proj_", 1)
        for part, chunk in zip("qkv", value.chunk(3), strict=True):
            key = f"clip_model.visual.{at}{part}_proj."
            if leaf == "weight":
                a, b = (0.2 * torch.randn(shape, generator=g) for shape in ((RANK, WIDTH), (WIDTH, RANK)))
                change = 6 / math.sqrt(RANK) * (b @ a)
                changes[int(at.split(".")[2]), part] = change
                state |= {f"{key}w_lora_A": a, f"{key}w_lora_B": b}
                chunk = chunk + merged * change
            state[f"{key}{leaf}"] = chunk.clone()
    if teacher:
        state |= {f"clip_model_frozen.clip_model_frozen.visual.{n}": v for n, v in visual.items()}
        state |= {f"clip_model_frozen.img_frozen_fc.{n}": torch.zeros(1) for n in ("weight", "bias")}
    return state, visual, changes


@pytest.mark.parametrize("merged", [0, 1])
def test_dgs_net_gives_the_published_logits_merged_or_not(merged: int) -> None:
    state, visual, changes = dgs_file(merged)
    found = dgs_net.convert("file", state, None)
    tower = tower_of(found.tower, "file")
    read_as_imagenet(tower)
    logits = tower.joint(tower(PIXELS)) @ found.head_weight.T + found.head_bias
    published = openai_forward(visual, normalised(*IMAGENET), changes)
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


def effort_file(tree: str, classes: int) -> tuple[State, CLIPVisionModel, nn.Linear]:
    torch.manual_seed(3)
    config = CLIPVisionConfig(
        hidden_size=WIDTH,
        intermediate_size=4 * WIDTH,
        num_hidden_layers=BLOCKS,
        num_attention_heads=1,
        image_size=SIZE,
        patch_size=PATCH,
        projection_dim=JOINT,
    )
    model, head = CLIPVisionModel(config).eval(), nn.Linear(WIDTH, classes)  # type: ignore[no-untyped-call]
    prefix, at = effort.TREES[tree]
    state: State = {f"{at}{name}": value for name, value in head.state_dict().items()}
    for name, value in copy.deepcopy(model).state_dict().items():
        name = name.removeprefix("vision_model.")
        if not ("self_attn" in name and name.endswith(".weight")):
            state[prefix + name] = value
            continue
        u, s, v = torch.linalg.svd(value)
        layer = prefix + name.removesuffix(".weight")
        state |= {
            f"{layer}.weight_main": (u[:, :-1] * s[:-1]) @ v[:-1],
            f"{layer}.U_residual": u[:, -1:],
            f"{layer}.S_residual": s[-1:],
            f"{layer}.V_residual": v[-1:],
        }
        if tree == "deepfake":
            state |= {f"{layer}.U_r": u[:, :-1], f"{layer}.S_r": s[:-1], f"{layer}.V_r": v[:-1]}
    if tree == "universal":
        state |= {
            "model.visual_projection.weight": torch.randn(JOINT, WIDTH),
            "model.logit_scale": torch.ones(()),
        }
    return state, model, head


@pytest.mark.parametrize(("tree", "classes"), [("deepfake", 2), ("universal", 1)])
def test_effort_gives_the_published_logits(tree: str, classes: int, tmp_path: Path) -> None:
    state, model, head = effort_file(tree, classes)
    torch.save({f"module.{name}": value for name, value in state.items()}, tmp_path / "effort.pth")
    found = effort.convert("file", read_weights(tmp_path / "effort.pth"))
    assert (found.tree, found.rank) == (tree, 1)
    found.tower.setdefault("projection.weight", torch.zeros(JOINT, WIDTH))
    logits = tower_of(found.tower, "file")(PIXELS) @ found.head_weight.T + found.head_bias
    pixels = normalised(torch.tensor(MEAN) / 255, torch.tensor(STD) / 255)
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
