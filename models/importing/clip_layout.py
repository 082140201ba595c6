"""CLIP's image tower as others name its weights, brought to the names of `VitTower`.

Two layouts: OpenAI's own (`visual.transformer.resblocks.0.attn.in_proj_weight`, which open_clip keeps) and
that of transformers (`vision_model.encoder.layers.0.self_attn.q_proj.weight`). The sizes of the tower are
read off the weights, and the number of heads follows from OpenAI's rule of 64 channels a head.
"""

import re
from collections.abc import Mapping

import torch
from torch import Tensor

from models.importing.files import ImportFault, State, check_names, load_strictly
from models.towers.vit import MEAN, STD, VitTower

HEAD_WIDTH = 64
IMAGENET_MEAN, IMAGENET_STD = (123.675, 116.28, 103.53), (58.395, 57.12, 57.375)  # pixels in 0..255

_OPENAI = {
    "class_embedding": "class_token",
    "positional_embedding": "positions",
    "conv1.weight": "patch.weight",
    "proj": "projection.weight",
}
_OPENAI_PARTS = (
    (r"^ln_pre\.", "norm_before."),
    (r"^ln_post\.", "norm_after."),
    (r"^transformer\.resblocks\.(\d+)\.", r"blocks.\1."),
    (r"\.ln_1\.", ".norm1."),
    (r"\.ln_2\.", ".norm2."),
    (r"\.attn\.out_proj\.", ".attention.out."),
    (r"\.mlp\.c_fc\.", ".mlp.0."),
    (r"\.mlp\.c_proj\.", ".mlp.2."),
)
_HF = {
    "embeddings.class_embedding": "class_token",
    "embeddings.position_embedding.weight": "positions",
    "embeddings.patch_embedding.weight": "patch.weight",
}
_HF_PARTS = (
    (r"^pre_layrnorm\.", "norm_before."),  # transformers' own spelling
    (r"^post_layernorm\.", "norm_after."),
    (r"^encoder\.layers\.(\d+)\.", r"blocks.\1."),
    (r"\.layer_norm([12])\.", r".norm\1."),
    (r"\.self_attn\.([qkv])_proj\.", r".attention.\1."),
    (r"\.self_attn\.out_proj\.", ".attention.out."),
    (r"\.mlp\.fc1\.", ".mlp.0."),
    (r"\.mlp\.fc2\.", ".mlp.2."),
)
_HF_IGNORED = "embeddings.position_ids"  # a counter that older versions stored


def from_openai(visual: Mapping[str, Tensor]) -> State:
    """Weights below OpenAI's `visual.`, in the names of VitTower; q, k and v are taken apart."""
    named: State = {}
    for name, tensor in visual.items():
        found = re.fullmatch(r"transformer\.resblocks\.(\d+)\.attn\.in_proj_(weight|bias)", name)
        if found:
            for part, value in zip("qkv", tensor.chunk(3), strict=True):
                named[f"blocks.{found[1]}.attention.{part}.{found[2]}"] = value
        else:
            named[_renamed(name, _OPENAI, _OPENAI_PARTS)] = tensor
    if "projection.weight" in named:
        named["projection.weight"] = named["projection.weight"].T
    return _shaped(named)


def from_transformers(vision: Mapping[str, Tensor], projection: Tensor | None) -> State:
    """Weights below transformers' `vision_model.`, and its visual projection [J, P] where there is one."""
    named = {_renamed(name, _HF, _HF_PARTS): tensor for name, tensor in vision.items() if name != _HF_IGNORED}
    if projection is not None:
        named["projection.weight"] = projection
    return _shaped(named)


def read_clip(where: str, state: Mapping[str, Tensor]) -> State:
    """The image tower out of a CLIP file of either layout. Raises ImportFault."""
    if any(name.startswith("visual.") for name in state):
        return from_openai(below(state, "visual."))
    if any(name.startswith("vision_model.") for name in state):
        return from_transformers(below(state, "vision_model."), state.get("visual_projection.weight"))
    raise ImportFault(
        f"{where} holds no CLIP image tower: neither visual.* (OpenAI, open_clip) nor vision_model.* "
        "(transformers) is in it"
    )


def below(state: Mapping[str, Tensor], prefix: str) -> State:
    """The weights whose names begin with `prefix`, without it."""
    return {name.removeprefix(prefix): value for name, value in state.items() if name.startswith(prefix)}


def build_tower(where: str, named: Mapping[str, Tensor]) -> VitTower:
    """A tower of the sizes that the weights have, filled strictly by name. Raises ImportFault."""
    needed = ("patch.weight", "positions", "projection.weight")
    check_names(where, [name for name in needed if name in named], needed)
    width, _, patch, _ = named["patch.weight"].shape
    blocks = [int(found[1]) for name in named if (found := re.match(r"blocks\.(\d+)\.", name))]
    tower = VitTower(
        width=width,
        depth=max(blocks, default=-1) + 1,
        heads=max(1, width // HEAD_WIDTH),
        patch=patch,
        size=round((named["positions"].shape[1] - 1) ** 0.5) * patch,
        joint=named["projection.weight"].shape[0],
    )
    texts = {"class_text": torch.zeros_like(tower.class_text)}
    load_strictly(where, tower, {**named, **texts})
    return tower.eval().requires_grad_(False)


@torch.no_grad()
def read_as_imagenet(tower: VitTower) -> None:
    """Make a tower that was trained on ImageNet's normalisation right for CLIP's, which its stem applies.

    (x - m) / s differs between the two by one affine map a channel, and the patch convolution has no
    padding, so the map folds into it exactly: a factor an input channel, and a constant that joins the
    positions of the patches.
    """
    factor = torch.tensor(STD) / torch.tensor(IMAGENET_STD)  # [3]
    shift = (torch.tensor(MEAN) - torch.tensor(IMAGENET_MEAN)) / torch.tensor(IMAGENET_STD)  # [3]
    kernel = tower.patch.weight.double()  # [width, 3, p, p]
    constant = (kernel.sum(dim=(2, 3)) * shift.double()).sum(dim=1)  # [width]
    tower.positions[:, 1:] += constant.to(tower.positions.dtype)
    tower.patch.weight.copy_(kernel * factor.double()[:, None, None])


def _renamed(name: str, whole: Mapping[str, str], parts: tuple[tuple[str, str], ...]) -> str:
    if name in whole:
        return whole[name]
    for pattern, replacement in parts:
        name = re.sub(pattern, replacement, name)
    return name


def _shaped(named: State) -> State:
    """Class token and positions with VitTower's leading axes; everything in float32."""
    for name, axes in (("class_token", 3), ("positions", 3)):
        while name in named and named[name].dim() < axes:
            named[name] = named[name][None]
    return {name: value.float() for name, value in named.items()}
