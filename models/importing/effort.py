"""Effort's released files (YZY-stack/Effort-AIGI-Detection) as one dense branch.

Both trees hold transformers' CLIP image tower whose attention projections are split by SVD,

    W = weight_main + U_residual diag(S_residual) V_residual,

with a head on the pooled features: `backbone.*` and `head` of two classes in the deepfake tree
(trained on aligned faces), `model.vision_model.*` and `fc` in the UniversalFakeDetect tree, which
carries the whole CLIP. The frozen directions S_r, U_r, V_r are stored in one of them; weight_main is their
product already.
"""

import re
from dataclasses import dataclass

from torch import Tensor

from models.towers.clip import depth_of, hugging_face
from models.towers.weights import State, WeightsError, check_names, some, take

TREES = {"deepfake": ("backbone.", "head."), "universal": ("model.vision_model.", "fc.")}
RESIDUAL = ("U_residual", "S_residual", "V_residual")
FROZEN = ("U_r", "S_r", "V_r")
COUNTER = "embeddings.position_ids"  # older versions of transformers stored it
PROJECTION = "model.visual_projection.weight"
TEXT = re.compile(
    r"model\.(text_model\..*|text_projection\.weight|logit_scale)|model\.visual_projection\.weight"
)


@dataclass(frozen=True, slots=True)
class EffortFile:
    """What is needed of the file, in the names of VitTower."""

    tree: str
    tower: State  # dense; without a projection where the file has none
    head_weight: Tensor  # [1, P], of `synthetic` against `real`
    head_bias: Tensor  # [1]
    rank: int  # of the residual


def tree_of(state: State) -> str | None:
    """Which tree's names these are; None for neither."""
    split = [name for name in state if name.endswith("S_residual")]
    for tree, (tower, head) in TREES.items():
        if f"{head}weight" in state and any(name.startswith(tower) for name in split):
            return tree
    return None


def convert(where: str, state: State) -> EffortFile:
    """Multiply the residuals out. Raises WeightsError."""
    tree = tree_of(state)
    if tree is None:
        raise WeightsError(
            f"{where} is no Effort file: neither backbone.* with head.* nor model.vision_model.* with fc.* "
            f"holds an S_residual; it begins with {some(state)}"
        )
    tower, head = TREES[tree]
    vision = {name: tensor for name, tensor in state.items() if name.startswith(tower)}
    heads, projection = {f"{head}weight", f"{head}bias"}, PROJECTION if PROJECTION in state else None
    beside = {name for name in state if name.startswith(tower) or TEXT.fullmatch(name)}
    check_names(f"an Effort file ({where})", state, beside | heads)
    dense, rank = _dense(where, vision)
    if projection:
        dense[projection] = state[projection]
    origins = hugging_face(depth_of(vision, tower), tower, projection)
    named = take(dense, origins, what=f"the image tower in {where}", ignored=(f"{tower}{COUNTER}",))
    weight, bias = _one_logit(where, state[f"{head}weight"], state[f"{head}bias"])
    return EffortFile(tree, named, weight, bias, rank)


def _dense(where: str, vision: State) -> tuple[State, int]:
    """Each split matrix multiplied out in float64, under the name of a plain linear layer."""
    split = {name.removesuffix(".weight_main") for name in vision if name.endswith(".weight_main")}
    parts = {f"{layer}.{part}" for layer in split for part in RESIDUAL}
    check_names(f"the residuals in {where}", [name for name in vision if name.endswith(RESIDUAL)], parts)
    ranks = {vision[f"{layer}.S_residual"].shape[0] for layer in split}
    extra = {f"{layer}.{part}" for layer in split for part in (*RESIDUAL, *FROZEN, "weight_main")}
    plain = {name: value for name, value in vision.items() if name not in extra}
    for layer in split:
        u, s, v = (vision[f"{layer}.{part}"].double() for part in RESIDUAL)  # [out, r], [r], [r, in]
        plain[f"{layer}.weight"] = (vision[f"{layer}.weight_main"].double() + (u * s) @ v).float()
    return plain, max(ranks)


def _one_logit(where: str, weight: Tensor, bias: Tensor) -> tuple[Tensor, Tensor]:
    """Two classes (0 real, 1 fake) become their difference; one output is BCE on fake already."""
    weight, bias = weight.float(), bias.float()
    if weight.shape[0] == 1:
        return weight, bias
    if weight.shape[0] == 2:
        return weight[1:] - weight[:1], bias[1:] - bias[:1]
    raise WeightsError(f"{where}: a head of 1 or 2 outputs was expected, not {weight.shape[0]}")
