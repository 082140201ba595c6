"""`clip-l14`, `clip-b16`, `clip-b32`: CLIP's image towers, with weights from a file that the user gives.

Two layouts are read: OpenAI's (open_clip writes it too) and that of Hugging Face's CLIPModel and
CLIPVisionModelWithProjection. Both hold the same tensors under different names.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

from torch import Tensor

from models.towers.vit import VitTower
from models.towers.weights import Origin, WeightsError, fill, read_weights


@dataclass(frozen=True, slots=True)
class ClipShape:
    """Sizes of an image tower of the paper (Radford et al., arXiv 2103.00020, table 20)."""

    width: int
    depth: int
    heads: int
    patch: int
    joint: int
    size: int = 224


PRESETS = {
    "clip-l14": ClipShape(width=1024, depth=24, heads=16, patch=14, joint=768),
    "clip-b16": ClipShape(width=768, depth=12, heads=12, patch=16, joint=512),
    "clip-b32": ClipShape(width=768, depth=12, heads=12, patch=32, joint=512),
}
# What a whole CLIP has beside its image tower: the text tower, the temperature, constants of an archive.
OPENAI_REST = (
    *("transformer.", "token_embedding.", "positional_embedding", "ln_final.", "text_projection", "text."),
    *("logit_scale", "logit_bias", "input_resolution", "context_length", "vocab_size"),
)
HF_REST = ("text_model.", "text_projection.", "logit_scale", "vision_model.embeddings.position_ids")


def empty_clip(name: str) -> VitTower:
    """The architecture, random weights. Raises KeyError for a name that is no preset."""
    return VitTower(name=name, **asdict(PRESETS[name]))


def load_clip(tower: VitTower, state: Mapping[str, Tensor]) -> None:
    """Fill `tower` from a state dict of either layout, strictly by name. Raises WeightsError."""
    depth = len(tower.blocks)
    if "visual.conv1.weight" in state:
        fill(tower, state, _openai(depth), what=tower.name, ignored=OPENAI_REST)
    elif any(name.startswith("vision_model.") for name in state):
        fill(tower, state, _hugging_face(depth), what=tower.name, ignored=HF_REST)
    else:
        first = ", ".join(sorted(state)[:3])
        raise WeightsError(
            f"the weights do not fit {tower.name}: missing visual.conv1.weight (OpenAI's layout) and "
            f"vision_model.embeddings.patch_embedding.weight (Hugging Face's); unexpected {first}"
        )


def clip_tower(name: str, weights: Path) -> VitTower:
    """A preset with the weights of a file. Raises WeightsError."""
    tower = empty_clip(name)
    load_clip(tower, read_weights(weights))
    return tower


def _pairs(own: str, theirs: str) -> dict[str, Origin]:
    return {f"{own}.{leaf}": Origin(f"{theirs}.{leaf}") for leaf in ("weight", "bias")}


def _openai(depth: int) -> dict[str, Origin]:
    found = {
        "patch.weight": Origin("visual.conv1.weight"),
        "class_token": Origin("visual.class_embedding"),
        "positions": Origin("visual.positional_embedding"),
        "projection.weight": Origin("visual.proj", transposed=True),
        **_pairs("norm_before", "visual.ln_pre"),
        **_pairs("norm_after", "visual.ln_post"),
    }
    for index in range(depth):
        own, theirs = f"blocks.{index}", f"visual.transformer.resblocks.{index}"
        for part, letter in enumerate("qkv"):
            for leaf in ("weight", "bias"):
                packed = f"{theirs}.attn.in_proj_{leaf}"
                found[f"{own}.attention.{letter}.{leaf}"] = Origin(packed, (part, 3))
        found |= _pairs(f"{own}.attention.out", f"{theirs}.attn.out_proj")
        found |= _pairs(f"{own}.norm1", f"{theirs}.ln_1") | _pairs(f"{own}.norm2", f"{theirs}.ln_2")
        found |= _pairs(f"{own}.mlp.0", f"{theirs}.mlp.c_fc") | _pairs(f"{own}.mlp.2", f"{theirs}.mlp.c_proj")
    return found


def _hugging_face(depth: int) -> dict[str, Origin]:
    found = {
        "patch.weight": Origin("vision_model.embeddings.patch_embedding.weight"),
        "class_token": Origin("vision_model.embeddings.class_embedding"),
        "positions": Origin("vision_model.embeddings.position_embedding.weight"),
        "projection.weight": Origin("visual_projection.weight"),
        **_pairs("norm_before", "vision_model.pre_layrnorm"),  # spelt so in every published file
        **_pairs("norm_after", "vision_model.post_layernorm"),
    }
    for index in range(depth):
        own, theirs = f"blocks.{index}", f"vision_model.encoder.layers.{index}"
        for letter in "qkv":
            found |= _pairs(f"{own}.attention.{letter}", f"{theirs}.self_attn.{letter}_proj")
        found |= _pairs(f"{own}.attention.out", f"{theirs}.self_attn.out_proj")
        found |= _pairs(f"{own}.norm1", f"{theirs}.layer_norm1")
        found |= _pairs(f"{own}.norm2", f"{theirs}.layer_norm2")
        found |= _pairs(f"{own}.mlp.0", f"{theirs}.mlp.fc1") | _pairs(f"{own}.mlp.2", f"{theirs}.mlp.fc2")
    return found
