"""Files of the published layouts with random weights at small size, and the published forward passes."""

import copy
import math

import torch
from torch import Tensor, nn
from transformers import CLIPVisionConfig, CLIPVisionModel

from models.importing import effort
from models.towers.weights import State

WIDTH, BLOCKS, JOINT, PATCH, SIZE, RANK = 64, 1, 24, 16, 64, 3
TOKENS = (SIZE // PATCH) ** 2 + 1
IMAGENET = torch.tensor([0.485, 0.456, 0.406]), torch.tensor([0.229, 0.224, 0.225])


def normalised(pixels: Tensor, mean: Tensor, std: Tensor) -> Tensor:
    """Pixels 0..255 [N, 3, H, W]."""
    return (pixels / 255 - mean.view(1, 3, 1, 1)) / std.view(1, 3, 1, 1)


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


@torch.no_grad()
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
