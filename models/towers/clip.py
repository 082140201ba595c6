"""`clip-l14`, `clip-b16`, `clip-b32`: CLIP's image towers, with weights from a file that the user gives.

Two layouts are read: OpenAI's (open_clip writes it too) and that of Hugging Face's CLIPModel and
CLIPVisionModelWithProjection. Both hold the same tensors under different names. Files of detectors that were
made from a CLIP keep these names behind a prefix of their own (`models.importing`).
"""

import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

from torch import Tensor

from models.towers.clip_blocks import both, hugging_face_block, openai_block
from models.towers.vit import VitTower
from models.towers.weights import Origin, State, WeightsError, check_names, fill, read_weights, take

_LAYERS = (*(f"attention.{name}" for name in ("q", "k", "v", "out")), "norm1", "norm2", "mlp.0", "mlp.2")


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
HEAD_WIDTH = 64  # channels of a head, in every CLIP
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
    origins, rest = _layout(state, tower.name, len(tower.blocks))
    fill(tower, state, origins, what=tower.name, ignored=rest)


def clip_weights(state: Mapping[str, Tensor], what: str) -> State:
    """The image tower of a CLIP of any size, under the names of VitTower. Raises WeightsError."""
    origins, rest = _layout(state, what)
    return take(state, origins, what=what, ignored=rest)


def depth_of(state: Mapping[str, Tensor], at: str) -> int:
    """How many blocks an image tower of either layout has, below the prefix `at`."""
    block = re.compile(re.escape(at) + r"(?:transformer\.resblocks|encoder\.layers)\.(\d+)\.")
    return max((int(found[1]) + 1 for name in state if (found := block.match(name))), default=0)


def tower_of(named: Mapping[str, Tensor], what: str) -> VitTower:
    """A frozen tower of the sizes that the weights have, in the names of VitTower. Raises WeightsError.

    It is named after the preset of its sizes, or `vit`.
    """
    needed = ("patch.weight", "positions", "projection.weight")
    check_names(what, [name for name in needed if name in named], needed)
    width, _, patch, _ = named["patch.weight"].shape
    shape = ClipShape(
        width=width,
        depth=len({name.split(".")[1] for name in named if name.startswith("blocks.")}),
        heads=max(1, width // HEAD_WIDTH),
        patch=patch,
        joint=named["projection.weight"].shape[0],
        size=round((named["positions"].shape[-2] - 1) ** 0.5) * patch,
    )
    name = next((preset for preset, known in PRESETS.items() if known == shape), "vit")
    tower = VitTower(name=name, **asdict(shape))
    texts = {"class_text": tower.class_text.zero_()}  # no detector reads them once it is trained
    fill(tower, {**named, **texts}, {own: Origin(own) for own in tower.state_dict()}, what=what)
    return tower.eval().requires_grad_(False)


def clip_tower(name: str, weights: Path) -> VitTower:
    """A preset with the weights of a file. Raises WeightsError."""
    tower = empty_clip(name)
    load_clip(tower, read_weights(weights))
    return tower


def openai(depth: int, at: str = "visual.") -> dict[str, Origin]:
    """OpenAI's layout, below the prefix `at`; q, k and v lie in one matrix."""
    found = {
        "patch.weight": Origin(f"{at}conv1.weight"),
        "class_token": Origin(f"{at}class_embedding"),
        "positions": Origin(f"{at}positional_embedding"),
        "projection.weight": Origin(f"{at}proj", transposed=True),
        **both("norm_before", f"{at}ln_pre"),
        **both("norm_after", f"{at}ln_post"),
    }
    for index in range(depth):
        found |= openai_block(f"blocks.{index}", f"{at}transformer.resblocks.{index}", _LAYERS)
    return found


def hugging_face(
    depth: int, at: str = "vision_model.", projection: str | None = "visual_projection.weight"
) -> dict[str, Origin]:
    """Hugging Face's layout, below the prefix `at`; `projection` None: a file without one."""
    found = {
        "patch.weight": Origin(f"{at}embeddings.patch_embedding.weight"),
        "class_token": Origin(f"{at}embeddings.class_embedding"),
        "positions": Origin(f"{at}embeddings.position_embedding.weight"),
        **({"projection.weight": Origin(projection)} if projection else {}),
        **both("norm_before", f"{at}pre_layrnorm"),  # spelt so in every published file
        **both("norm_after", f"{at}post_layernorm"),
    }
    for index in range(depth):
        found |= hugging_face_block(f"blocks.{index}", f"{at}encoder.layers.{index}", _LAYERS)
    return found


def _layout(
    state: Mapping[str, Tensor], what: str, depth: int | None = None
) -> tuple[dict[str, Origin], tuple[str, ...]]:
    """Where each tensor lies in this file, and what else it may hold. Raises WeightsError for neither."""
    if "visual.conv1.weight" in state:
        return openai(depth_of(state, "visual.") if depth is None else depth), OPENAI_REST
    if any(name.startswith("vision_model.") for name in state):
        return hugging_face(depth_of(state, "vision_model.") if depth is None else depth), HF_REST
    first = ", ".join(sorted(state)[:3])
    raise WeightsError(
        f"the weights do not fit {what}: missing visual.conv1.weight (OpenAI's layout) and "
        f"vision_model.embeddings.patch_embedding.weight (Hugging Face's); unexpected {first}"
    )
