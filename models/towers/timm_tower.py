"""`timm:<model>`: any vision transformer of timm, at the size that it was trained at.

Its joint space is its pooled space: these models have no text tower (`models.text_side` fits one).
timm computes q, k and v with one matrix; adapters change that matrix as a whole. Supported are timm's
VisionTransformer (ViT, DeiT, CLIP, MetaCLIP, SigLIP, DINOv2, ...) and Eva (EVA, EVA-02, DINOv3, Perception
Encoder, ...) families, but for rotary embeddings that are learned layer by layer.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from models.towers.base import Tower, TowerError
from models.towers.weights import Origin, WeightsError, fill, read_weights

PREFIX = "timm:"
HEADS = ("head.",)  # classifiers of published files; the tower has none


class Turned(nn.Module):
    """A block of the Eva family with the rotary embedding of its one picture size."""

    rope: Tensor

    def __init__(self, block: nn.Module, rope: Tensor) -> None:
        super().__init__()
        self.block = block
        self.register_buffer("rope", rope.detach().clone(), persistent=False)

    def forward(self, tokens: Tensor) -> Tensor:
        """[B, L, C] -> [B, L, C]."""
        out: Tensor = self.block(tokens, rope=self.rope)
        return out


class TimmTower(Tower):
    """A timm model taken apart into stem, blocks and pooling."""

    def __init__(self, name: str, model: Any) -> None:
        """`model` has no classifier. Raises TowerError for a model that is no such transformer."""
        config = model.pretrained_cfg
        mean, std = (tuple(255 * float(value) for value in config[key]) for key in ("mean", "std"))
        super().__init__(mean, std)
        blocks, self.turned = _blocks(name, model)
        self.name, self.size = name, int(model.patch_embed.img_size[0])
        self.multiple = self.size
        self.pooled_dim = self.joint_dim = int(model.num_features)
        self.width = int(model.embed_dim)
        model.blocks = nn.Identity()  # they are kept once, below
        self.outer, self.blocks = model, blocks
        self.register_buffer("class_text", torch.zeros(2, self.joint_dim))

    def stem(self, pixels: Tensor) -> Tensor:
        """[B, 3, size, size] -> tokens [B, L, C]."""
        patches = self.outer.patch_embed((pixels - self.mean) / self.std)
        placed = self.outer._pos_embed(patches)  # timm has no public name for it
        tokens: Tensor = self.outer.norm_pre(placed[0] if self.turned else placed)
        return tokens

    def pool(self, h: Tensor) -> Tensor:
        """The model's own pooling [B, P]."""
        pooled: Tensor = self.outer.forward_head(self.outer.norm(h), pre_logits=True)
        return pooled

    def joint(self, pooled: Tensor) -> Tensor:
        """The pooled features themselves."""
        return pooled

    def summary(self, h: Tensor) -> Tensor:
        """The model's own pooling, behind any block."""
        return self.pool(h)

    def summary_dim(self, block: int) -> int:
        """P."""
        return self.pooled_dim

    def adaptable(self, block: nn.Module) -> Iterator[str]:
        """The matrices of attention."""
        yield from self.attending(block)
        yield f"{_inside(block)}attn.proj"

    def attending(self, block: nn.Module) -> Iterator[str]:
        """q, k, v: one matrix, or three where timm keeps them apart."""
        attention = block.get_submodule(f"{_inside(block)}attn")
        for leaf in ("qkv", "q_proj", "k_proj", "v_proj"):
            if getattr(attention, leaf, None) is not None:
                yield f"{_inside(block)}attn.{leaf}"

    def facts(self) -> dict[str, Any]:
        """The size; the name says the rest."""
        return {"size": self.size}


def empty_timm(name: str, size: int | None = None) -> TimmTower:
    """The architecture, random weights. Raises TowerError for what timm does not know or is not supported."""
    return TimmTower(name, _create(name, pretrained=False, size=size))


def timm_tower(name: str, weights: Path | None) -> TimmTower:
    """With the weights of a file, strictly by name, or from the hub. Raises TowerError, WeightsError."""
    if weights is None:
        return TimmTower(name, _from_hub(name))
    model = _create(name, pretrained=False)
    origins = {key: Origin(key) for key in model.state_dict()}
    fill(model, read_weights(weights), origins, what=name, ignored=HEADS)
    return TimmTower(name, model)


def _create(name: str, *, pretrained: bool, size: int | None = None) -> Any:
    import timm

    sized: dict[str, Any] = {"img_size": size} if size else {}
    try:
        return timm.create_model(
            name.removeprefix(PREFIX), pretrained=pretrained, num_classes=0, dynamic_img_size=False, **sized
        ).eval()
    except (RuntimeError, TypeError) as error:
        raise TowerError(f"{name} is no vision transformer of timm that can be a tower: {error}") from error


def _from_hub(name: str) -> Any:
    from httpx import HTTPError
    from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError

    try:
        return _create(name, pretrained=True)
    except (HfHubHTTPError, LocalEntryNotFoundError, HTTPError, OSError) as error:
        raise WeightsError(
            f"the weights of {name} cannot be fetched from the hub ({type(error).__name__}): "
            "connect this machine, or give --weights FILE"
        ) from error


def _blocks(name: str, model: Any) -> tuple[nn.ModuleList, bool]:
    """The blocks, each a map of tokens to tokens, and whether they carry a rotary embedding."""
    from timm.models.eva import Eva
    from timm.models.vision_transformer import VisionTransformer

    if isinstance(model, VisionTransformer):
        return nn.ModuleList(model.blocks), False
    if not isinstance(model, Eva) or getattr(model, "rope_mixed", False):
        raise TowerError(
            f"{name} is a {type(model).__name__}, which cannot be a tower: timm's VisionTransformer and Eva "
            "families can, but for rotary embeddings learned layer by layer"
        )
    for block in model.blocks:
        _join_bias(block.attn)
    with torch.no_grad():
        blank = torch.zeros(1, 3, *model.patch_embed.img_size)
        _, rope = model._pos_embed(model.patch_embed(blank))
    if rope is None:
        return nn.ModuleList(model.blocks), True
    return nn.ModuleList(Turned(block, rope) for block in model.blocks), True


def _join_bias(attention: Any) -> None:
    """Give EVA's joint q, k, v matrix its bias: timm adds it beside the layer, past an adapter."""
    if getattr(attention, "qkv", None) is None or getattr(attention, "q_bias", None) is None:
        return
    bias = torch.cat([attention.q_bias, attention.k_bias, attention.v_bias]).detach().clone()
    attention.qkv.bias = nn.Parameter(bias)
    attention.q_bias = attention.k_bias = attention.v_bias = None


def _inside(block: nn.Module) -> str:
    return "block." if isinstance(block, Turned) else ""
