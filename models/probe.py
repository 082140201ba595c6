"""The linear probe: a frozen tower and a linear head. The honest baseline, and a detector in its own right.

UnivFD (Ojha et al., CVPR 2023) reads the joint embedding of the last block. On strong towers such a head
beats specialised detectors in the wild (arXiv 2602.01738); `blocks` lets it read several blocks at once.
"""

from collections.abc import Sequence

import torch.nn.functional as F
from torch import Tensor, nn

from models.ensemble import Branch
from models.methods import Batch, Method
from models.towers.base import Tower


class Probe(Method):
    """BCE of a linear head on frozen features."""

    name = "probe"

    def __init__(self, tower: Tower, start: int, *, blocks: Sequence[int] = ()) -> None:
        """`blocks`: indices of the blocks to read; none means the joint embedding, as UnivFD does."""
        super().__init__()
        taps = tuple(sorted(blocks))
        self.branch = Branch(self.name, tower, start, "blocks" if taps else "joint", taps)
        self.branch.blocks.requires_grad_(False)
        nn.init.zeros_(self.branch.head.weight)
        nn.init.zeros_(self.branch.head.bias)

    def losses(self, tower: Tower, batch: Batch) -> dict[str, Tensor]:
        """`total` alone."""
        logits = self.branch.head(self.branch.features(tower, batch.prefix, batch.inner))[:, 0]
        return {"total": F.binary_cross_entropy_with_logits(logits, batch.labels)}
