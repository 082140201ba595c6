"""The first two stages of a run: in `tune` the whole tower learns, in `head` it is frozen."""

from collections.abc import Iterable
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import nn

from models.batches import Seen, Stream
from models.loop import Losses, Progress, optimise
from models.recipe import Precision, Stage
from models.towers.base import Tower


class Tuner(nn.Module):
    """A tower with linear heads on its pooled and on its joint features.

    Each view has heads of its own: a crop and a whole picture spread differently over the features.
    """

    def __init__(self, tower: Tower, views: Iterable[str]) -> None:
        super().__init__()
        self.tower = tower
        widths = {"pooled": tower.pooled_dim, "joint": tower.joint_dim}
        self.heads = nn.ModuleDict(
            {_head(view, feature): nn.Linear(width, 1) for view in views for feature, width in widths.items()}
        )
        for parameter in self.heads.parameters():
            nn.init.zeros_(parameter)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                module.weight.data = module.weight.data.contiguous(memory_format=torch.channels_last)

    def head(self, view: str, feature: str) -> nn.Linear:
        """The head on that feature of that view."""
        head = self.heads[_head(view, feature)]
        assert isinstance(head, nn.Linear)
        return head

    def fit(
        self, stream: Stream, stage: Stage, folder: Path, precision: Precision, progress: Progress
    ) -> None:
        """Run the stage that `stream` is named after: `tune` or `head`."""
        self.tower.requires_grad_(stream.stage == "tune")
        if stage.steps:
            optimise(self, self.losses, stream, stage, folder, precision=precision, progress=progress)

    def losses(self, seen: Seen) -> Losses:
        """BCE, the mean over views and heads."""
        parts: Losses = {}
        for name, pixels in seen.pixels.items():
            pooled = self.tower(pixels)
            for feature, x in (("pooled", pooled), ("joint", self.tower.joint(pooled))):
                logits = self.heads[_head(name, feature)](x)[:, 0]
                parts[_head(name, feature)] = F.binary_cross_entropy_with_logits(logits, seen.labels)
        return {"total": torch.stack(list(parts.values())).mean(), **parts}


def _head(view: str, feature: str) -> str:
    return f"{view}_{feature}"
