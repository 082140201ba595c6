"""The detectors in one module: what is exported, and the reference that engines are held against.

Detectors that read the same view share the tower's stem and its blocks before `adapt_from`: their
weights are the same to the last bit, so the prefix is computed once for all of them.
"""

import copy
from collections.abc import Mapping
from types import MappingProxyType
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from models.spec import ViewSpec
from models.towers.base import Tower

Feature = Literal["pooled", "joint", "blocks"]
RESIDUAL_GAIN = 8.0  # residuals of a few grey levels come into the range that a tower knows


class Bounds(nn.Module):
    """Holds every feature between two numbers: what lies far from all that was trained on says no more."""

    low: Tensor
    high: Tensor

    def __init__(self, width: int) -> None:
        super().__init__()
        self.register_buffer("low", torch.full((width,), -torch.inf))
        self.register_buffer("high", torch.full((width,), torch.inf))

    def forward(self, x: Tensor) -> Tensor:
        """[B, F] -> [B, F]."""
        return torch.minimum(torch.maximum(x, self.low), self.high)


class Branch(nn.Module):
    """One detector behind the shared prefix: its own blocks, dense (folded), and a linear head."""

    def __init__(
        self,
        name: str,
        tower: Tower,
        start: int,
        feature: Feature,
        taps: tuple[int, ...] = (),
        *,
        bounded: bool = False,
        limit: float | None = None,
    ) -> None:
        """`taps`: the blocks that the feature "blocks" concatenates, inside the shared prefix or behind it.

        `bounded`: whether the head reads features between `bounds`. `limit`: what the logit tends to, however
        much speaks for a class. Raises ValueError for blocks that the tower does not have.
        """
        super().__init__()
        self.name, self.start, self.feature, self.taps, self.limit = name, start, feature, taps, limit
        wrong = [tap for tap in taps if not 0 <= tap < len(tower.blocks)]
        if wrong or (feature == "blocks") != bool(taps):
            raise ValueError(
                f"{name} can read blocks 0 to {len(tower.blocks) - 1} of {tower.name}, not {taps}"
            )
        stop = max(taps) + 1 if taps else len(tower.blocks)  # blocks behind the last tap are not needed
        self.blocks = nn.ModuleList(copy.deepcopy(block) for block in list(tower.blocks)[start:stop])
        widths = {"pooled": tower.pooled_dim, "joint": tower.joint_dim}
        width = widths.get(feature) or sum(map(tower.summary_dim, taps))
        self.bounds = Bounds(width) if bounded else None
        self.head = nn.Linear(width, 1)

    def features(self, tower: Tower, h: Tensor, inner: Mapping[int, Tensor] = MappingProxyType({})) -> Tensor:
        """Prefix output -> the features that the head reads, [B, P], [B, J] or [B, sum of the taps' C].

        `inner`: summaries of the prefix's own blocks, for heads that tap them (`Tower.tapped_prefix`).
        """
        seen = {tap: inner[tap] for tap in self.taps if tap < self.start}
        for index, block in enumerate(self.blocks, self.start):
            h = block(h)
            if index in self.taps:
                seen[index] = tower.summary(h)
        if seen:
            return torch.cat([seen[tap] for tap in sorted(seen)], dim=1)
        pooled = tower.pool(h)
        return pooled if self.feature == "pooled" else tower.joint(pooled)

    def forward(self, tower: Tower, h: Tensor, inner: Mapping[int, Tensor] = MappingProxyType({})) -> Tensor:
        """Prefix output -> logit of `synthetic`, [B]."""
        features = self.features(tower, h, inner)
        logit: Tensor = self.head(features if self.bounds is None else self.bounds(features))[:, 0]
        return logit if self.limit is None else self.limit * torch.tanh(logit / self.limit)


class Ensemble(nn.Module):
    """uint8 views in, one raw logit a detector out. Nothing random, nothing that depends on the batch."""

    def __init__(self, tower: Tower, branches: list[Branch], views: list[ViewSpec], reads: list[str]) -> None:
        """`reads` names the view of each branch."""
        super().__init__()
        if len({branch.start for branch in branches}) != 1:
            raise ValueError("the detectors must share one prefix: their adapt_from differ")
        self.tower, self.branches = tower, nn.ModuleList(branches)
        self.views, self.reads = {view.name: view for view in views}, reads

    def detectors(self) -> list[Branch]:
        """The branches, in the order of the logits' columns."""
        return [branch for branch in self.branches if isinstance(branch, Branch)]

    def forward(self, views: Mapping[str, Tensor]) -> Tensor:
        """View name -> uint8 [N, S, S, 3]; returns float32 logits [N, D]."""
        branches = self.detectors()
        start = branches[0].start
        taps = {tap for branch in branches for tap in branch.taps}
        prefixes = {
            name: self.tower.tapped_prefix(to_pixels(views[name], self.views[name]), start, taps)
            for name in dict.fromkeys(self.reads)
        }
        logits = []
        for branch, name in zip(branches, self.reads, strict=True):
            each = branch(self.tower, *prefixes[name])  # [N * crops]
            logits.append(each.reshape(-1, crops_in(self.views[name])).mean(dim=1))
        return torch.stack(logits, dim=1)


def crops_in(view: ViewSpec) -> int:
    """How many pictures the tower sees for one view: the mean of their logits is the view's."""
    return (view.size // view.tile) ** 2 if view.kind == "crops" else 1


def to_pixels(stored: Tensor, view: ViewSpec) -> Tensor:
    """uint8 [N, S, S, 3] -> float 0..255 [N * crops, 3, s, s], the crops of one picture in a row."""
    pixels = stored.permute(0, 3, 1, 2).float()
    if view.kind == "crops":
        count, grid, tile = pixels.shape[0], view.size // view.tile, view.tile
        split = pixels.reshape(count, 3, grid, tile, grid, tile).permute(
            0, 2, 4, 1, 3, 5
        )  # [N, g, g, 3, t, t]
        pixels = split.reshape(count * grid * grid, 3, tile, tile)
    return residual(pixels) if view.residual else pixels  # of each crop by itself


def residual(pixels: Tensor) -> Tensor:
    """Float pixels 0..255 [B, 3, H, W] -> what a mean of 3 x 3 leaves of them, stretched about grey, 0..255.

    Content goes, traces of decoders and of resampling stay: what forensic detectors have read since
    Fridrich and Kodovsky (Rich models for steganalysis of digital images, IEEE TIFS 2012).
    """
    # As one convolution, so that an engine in half precision never rounds the mean before it is subtracted:
    # in bfloat16 that moved logits of pictures by up to 2. At the border the mean is of what lies inside:
    # the same as the mean of nine once every side goes on with the mean of its two outermost lines.
    kernel = torch.full((3, 3), -1.0, dtype=pixels.dtype, device=pixels.device)
    kernel[1, 1] = 8.0
    # Each channel by itself; written as a dense convolution, which torch computes several times faster.
    weight = torch.eye(3, dtype=pixels.dtype, device=pixels.device)[:, :, None, None] * kernel
    nine_times = F.conv2d(_continued(_continued(pixels, 2), 3), weight)
    return (128 + RESIDUAL_GAIN / 9 * nine_times).clamp(0, 255)


def _continued(pixels: Tensor, axis: int) -> Tensor:
    """One more line at either end of `axis`: the mean of the two lines there."""
    first, last = (pixels.narrow(axis, at, 2).mean(axis, keepdim=True) for at in (0, pixels.shape[axis] - 2))
    return torch.cat([first, pixels, last], axis)
