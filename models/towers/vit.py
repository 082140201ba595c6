"""The vision transformer of CLIP, in any size, with random weights; `models.towers.clip` fills it.

Architecture: Radford et al., ICML 2021 (arXiv 2103.00020): class token, learned positions, layer norm before
the first block, QuickGELU. Compile checks and speed measurements use it as it is, since no weights of the
sizes that production runs can be shipped.
"""

from typing import Any

import torch
from torch import Tensor, nn

from models.towers.transformer import Block, TransformerTower

MEAN, STD = (122.77, 116.75, 104.09), (68.50, 66.63, 70.32)  # of OpenAI's training pictures, 0..255


class QuickGelu(nn.Module):
    """x * sigmoid(1.702 x), CLIP's activation."""

    def forward(self, x: Tensor) -> Tensor:
        """Element-wise."""
        return x * torch.sigmoid(1.702 * x)


class VitTower(TransformerTower):
    """Square pictures of `size` pixels, patches of `patch`. The defaults are ViT-L/14 at 224 pixels."""

    def __init__(
        self,
        *,
        name: str = "vit",
        width: int = 1024,
        depth: int = 24,
        heads: int = 16,
        patch: int = 14,
        size: int = 224,
        joint: int = 768,
    ) -> None:
        super().__init__(MEAN, STD)
        self.name, self.size, self.pooled_dim, self.joint_dim = name, size, width, joint
        self.multiple = patch
        sizes = {"width": width, "depth": depth, "heads": heads, "patch": patch, "joint": joint}
        self._facts = {**sizes, "size": size}
        self.patch = nn.Conv2d(3, width, patch, stride=patch, bias=False)
        self.class_token = nn.Parameter(torch.randn(1, 1, width))
        self.positions = nn.Parameter(torch.randn(1, 1 + (size // patch) ** 2, width))
        self.norm_before, self.norm_after = nn.LayerNorm(width), nn.LayerNorm(width)
        self.blocks = nn.ModuleList(Block(width, heads, 4, QuickGelu()) for _ in range(depth))
        self.projection = nn.Linear(width, joint, bias=False)
        self.register_buffer("class_text", torch.randn(2, joint))

    def stem(self, pixels: Tensor) -> Tensor:
        """[B, 3, size, size] -> [B, 1 + patches, width]."""
        patches = self.patch((pixels - self.mean) / self.std).flatten(2).transpose(1, 2)
        tokens = torch.cat([self.class_token.expand(patches.shape[0], -1, -1), patches], dim=1)
        normed: Tensor = self.norm_before(tokens + self.positions)
        return normed

    def facts(self) -> dict[str, Any]:
        """Every size."""
        return dict(self._facts)
