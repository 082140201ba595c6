"""What every method may ask of a tower, so that each is written once for all towers.

    pixels [B, 3, H, W] --stem--> h --blocks[0]--> ... --blocks[-1]--> h --pool--> [B, P] --joint--> [B, J]

`h` is whatever the blocks hand to each other: tokens [B, L, C] on a transformer, a map [B, C, H', W']
on a convolutional tower. The joint embedding and the class texts live in the same space.
"""

from abc import ABC, abstractmethod
from collections.abc import Collection, Iterator
from typing import Any

import torch
from torch import Tensor, nn

CLASS_PROMPTS = ("A real photo", "A fake photo")  # PiN-CLIP's prompts, in the order of the labels 0 and 1


class TowerError(Exception):
    """There is no such tower, or it cannot be one; the message says what there is."""


class Tower(nn.Module, ABC):
    """An image encoder in named blocks, and the text embeddings of the two classes."""

    name: str
    multiple: int  # picture sides must be multiples of this
    size: int | None = None  # the only side of pictures that it reads; None: any multiple
    pooled_dim: int  # P
    joint_dim: int  # J
    blocks: nn.ModuleList
    mean: Tensor  # [3], of pixels in 0..255
    std: Tensor  # [3]
    class_text: Tensor  # [2, J], one row per CLASS_PROMPTS

    def __init__(self, mean: tuple[float, ...], std: tuple[float, ...]) -> None:
        super().__init__()
        self.register_buffer("mean", torch.tensor(mean).view(1, 3, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(std).view(1, 3, 1, 1), persistent=False)

    @abstractmethod
    def stem(self, pixels: Tensor) -> Tensor:
        """Float pixels 0..255 [B, 3, H, W] -> what the first block reads. Normalises."""

    @abstractmethod
    def pool(self, h: Tensor) -> Tensor:
        """What the last block gives -> pooled features [B, P]."""

    @abstractmethod
    def joint(self, pooled: Tensor) -> Tensor:
        """[B, P] -> [B, J], the embedding that the class texts share. Not L2-normalised."""

    def prefix(self, pixels: Tensor, stop: int) -> Tensor:
        """Stem and the blocks before `stop`."""
        return self.tapped_prefix(pixels, stop, ())[0]

    def tapped_prefix(
        self, pixels: Tensor, stop: int, taps: Collection[int]
    ) -> tuple[Tensor, dict[int, Tensor]]:
        """`prefix`, and the summaries [B, C] of the blocks in `taps` that lie before `stop`."""
        h, seen = self.stem(pixels), {}
        for index, block in enumerate(list(self.blocks)[:stop]):
            h = block(h)
            if index in taps:
                seen[index] = self.summary(h)
        return h, seen

    def forward(self, pixels: Tensor) -> Tensor:
        """Pooled features [B, P] of float pixels 0..255 [B, 3, H, W]."""
        return self.pool(self.prefix(pixels, len(self.blocks)))

    @abstractmethod
    def adaptable(self, block: nn.Module) -> Iterator[str]:
        """Names, inside one block, of the matrices that adapters may change (nn.Linear, 1x1 Conv2d)."""

    def attending(self, block: nn.Module) -> Iterator[str]:
        """Those of `adaptable` that LoRA changes in the papers: q, k, v on a transformer; else all."""
        return self.adaptable(block)

    @abstractmethod
    def summary(self, h: Tensor) -> Tensor:
        """What any block gives -> one vector a picture [B, C], for heads on inner blocks."""

    @abstractmethod
    def summary_dim(self, block: int) -> int:
        """C of `summary` behind the block of that index."""

    def facts(self) -> dict[str, Any]:
        """What, beside its name, the architecture is made from: JSON that a checkpoint carries."""
        return {}
