"""The linear probe: a frozen tower and a linear head. The honest baseline, and a detector in its own right.

UnivFD (Ojha et al., CVPR 2023) reads the joint embedding of the last block. On strong towers such a head
beats specialised detectors in the wild (arXiv 2602.01738); `blocks` lets it read several blocks at once.
The head is not trained by steps: logistic regression on frozen features has one optimum (`models.probe_fit`).
`matched` adds a second linear rule on the same features (`models.matched_filter`); the sum is one head.
"""

from collections.abc import Sequence

from torch import nn

from models.ensemble import Branch, Feature
from models.towers.base import Tower


class Probe(nn.Module):
    """A branch whose blocks are the tower's own; its head gives 0 until it is fitted."""

    name = "probe"

    def __init__(
        self,
        tower: Tower,
        start: int,
        *,
        blocks: Sequence[int] = (),
        strength: float | None = None,
        matched: float = 0.0,
        bound: float | None = None,
        limit: float | None = None,
        resaved: int | None = None,
    ) -> None:
        """`blocks`: indices of the blocks to read; none means the joint embedding, as UnivFD does.

        `strength`: of the data against the penalty. None: the one that is best on validation pictures, whose
        generators were trained on; a smaller one may know new ones better.
        `matched`: weight of the matched filter beside logistic regression, both at unit spread on reals.
        `bound`: how many standard deviations from the mean of the training pictures a feature counts at most.
        `limit`: what the logit tends to: a picture unlike all others cannot outvote other detectors by far.
        `resaved`: quality of a further copy of each training picture, one that was only saved as JPEG again.
        """
        super().__init__()
        self.strength, self.matched, self.bound, self.resaved = strength, matched, bound, resaved
        taps, bounded = tuple(sorted(blocks)), bound is not None
        feature: Feature = "blocks" if taps else "joint"
        self.branch = Branch(self.name, tower, start, feature, taps, bounded=bounded, limit=limit)
        self.branch.blocks.requires_grad_(False)
        nn.init.zeros_(self.branch.head.weight)
        nn.init.zeros_(self.branch.head.bias)
