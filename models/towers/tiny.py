"""`tiny`: a small vision transformer with random weights. For tests; it knows nothing."""

from collections.abc import Iterator

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from models.towers.base import Tower


class Attention(nn.Module):
    """Multi-head self-attention with separate q, k, v and output projections."""

    def __init__(self, dim: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.q, self.k, self.v, self.out = (nn.Linear(dim, dim) for _ in range(4))

    def forward(self, tokens: Tensor) -> Tensor:
        """[B, L, C] -> [B, L, C]."""
        q, k, v = (self._split(layer(tokens)) for layer in (self.q, self.k, self.v))  # [B, heads, L, C/heads]
        mixed = F.scaled_dot_product_attention(q, k, v)
        joined: Tensor = self.out(mixed.transpose(1, 2).flatten(2))
        return joined

    def _split(self, tokens: Tensor) -> Tensor:
        batch, length, dim = tokens.shape
        return tokens.reshape(batch, length, self.heads, dim // self.heads).transpose(1, 2)


class Block(nn.Module):
    """Pre-norm transformer block."""

    def __init__(self, dim: int, heads: int) -> None:
        super().__init__()
        self.norm1, self.norm2 = nn.LayerNorm(dim), nn.LayerNorm(dim)
        self.attention = Attention(dim, heads)
        self.mlp = nn.Sequential(nn.Linear(dim, 2 * dim), nn.GELU(), nn.Linear(2 * dim, dim))

    def forward(self, tokens: Tensor) -> Tensor:
        """[B, L, C] -> [B, L, C]."""
        tokens = tokens + self.attention(self.norm1(tokens))
        out: Tensor = tokens + self.mlp(self.norm2(tokens))
        return out


class TinyTower(Tower):
    """3 blocks of 32 channels on 16-pixel patches of any square picture, class token, 24-d joint space."""

    name, multiple, pooled_dim, joint_dim = "tiny", 16, 32, 24

    def __init__(self, seed: int = 0) -> None:
        super().__init__(mean=(127.5,) * 3, std=(64.0,) * 3)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            self.patch = nn.Conv2d(3, 32, 16, stride=16)
            self.class_token = nn.Parameter(torch.randn(1, 1, 32))
            self.blocks = nn.ModuleList(Block(32, heads=4) for _ in range(3))
            self.norm = nn.LayerNorm(32)
            self.projection = nn.Linear(32, 24, bias=False)
            self.register_buffer("class_text", torch.randn(2, 24))

    def stem(self, pixels: Tensor) -> Tensor:
        """[B, 3, H, W] -> [B, 1 + H W / 256, 32]."""
        patches = self.patch((pixels - self.mean) / self.std).flatten(2).transpose(1, 2)
        return torch.cat([self.class_token.expand(patches.shape[0], -1, -1), patches], dim=1)

    def pool(self, h: Tensor) -> Tensor:
        """The class token [B, 32]."""
        pooled: Tensor = self.norm(h[:, 0])
        return pooled

    def joint(self, pooled: Tensor) -> Tensor:
        """[B, 32] -> [B, 24]."""
        joined: Tensor = self.projection(pooled)
        return joined

    def adaptable(self, block: nn.Module) -> Iterator[str]:
        """All four attention projections."""
        yield from ("attention.q", "attention.k", "attention.v", "attention.out")
