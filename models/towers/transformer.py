"""What the transformer towers share: attention, blocks, and how a class token becomes an embedding."""

from collections.abc import Iterator

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
    """Pre-norm transformer block; its hidden layer is `widening` times as wide."""

    def __init__(self, dim: int, heads: int, widening: int, activation: nn.Module) -> None:
        super().__init__()
        self.norm1, self.norm2 = nn.LayerNorm(dim), nn.LayerNorm(dim)
        self.attention = Attention(dim, heads)
        hidden = widening * dim
        self.mlp = nn.Sequential(nn.Linear(dim, hidden), activation, nn.Linear(hidden, dim))

    def forward(self, tokens: Tensor) -> Tensor:
        """[B, L, C] -> [B, L, C]."""
        tokens = tokens + self.attention(self.norm1(tokens))
        out: Tensor = tokens + self.mlp(self.norm2(tokens))
        return out


class TransformerTower(Tower):
    """A tower whose first token stands for the picture. Subclasses make the layers and the stem."""

    norm_after: nn.LayerNorm
    projection: nn.Linear

    def pool(self, h: Tensor) -> Tensor:
        """The class token [B, width]."""
        pooled: Tensor = self.norm_after(h[:, 0])
        return pooled

    def joint(self, pooled: Tensor) -> Tensor:
        """[B, width] -> [B, joint]."""
        joined: Tensor = self.projection(pooled)
        return joined

    def adaptable(self, block: nn.Module) -> Iterator[str]:
        """All four attention projections."""
        yield from ("attention.q", "attention.k", "attention.v", "attention.out")

    def attending(self, block: nn.Module) -> Iterator[str]:
        """q, k and v."""
        yield from ("attention.q", "attention.k", "attention.v")

    def summary(self, h: Tensor) -> Tensor:
        """The class token, normalised as behind the last block [B, width]."""
        return self.pool(h)

    def summary_dim(self, block: int) -> int:
        """The width."""
        return self.pooled_dim
