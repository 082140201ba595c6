"""What the linear probes read: features of the frozen, pretrained tower, last layer and several blocks.

They do not depend on a cell, so they are computed once for all pictures and kept in <out>/features.npz.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from models.augment import NONE, Strength, draw_chain
from models.data import load
from models.layouts import Picture
from models.study.plan import SIDE, Budget
from models.synthesis.base import RGB
from models.synthesis.copies import seeded
from models.towers.base import Tower
from models.towers.registry import pretrained_tower

TAPS = (0, 2, 4, 7, 10, 14, 15)  # blocks whose pooled output the multi-block probe reads, beside the stem


@dataclass(frozen=True, slots=True)
class Features:
    """Copy 0 is the untouched picture; the others went through augmentation. C copies of N pictures."""

    last: NDArray[np.float32]  # [N, C, P]
    blocks: NDArray[np.float32]  # [N, C, sum of channels]


def frozen_features(
    pictures: Sequence[Picture], out: Path, budget: Budget, progress: Callable[[str], None]
) -> Features:
    """Features of all pictures, from the file where it is there."""
    file = out / "features.npz"
    if not file.is_file():
        progress("features of the frozen tower")
        tower = pretrained_tower(budget.tower).eval()
        rows = [_of_picture(tower, picture, budget.copies) for picture in pictures]
        last, blocks = (np.stack([row[side] for row in rows]) for side in (0, 1))
        np.savez(file, last=last, blocks=blocks)
    stored = np.load(file)
    return Features(stored["last"], stored["blocks"])


def _of_picture(tower: Tower, picture: Picture, copies: int) -> tuple[NDArray[np.float32], ...]:
    rgb = load(picture)
    seen = [rgb, *(_augmented(rgb, picture, copy) for copy in range(1, copies + 1))]
    pixels = torch.from_numpy(np.stack(seen)).permute(0, 3, 1, 2).float()
    with torch.inference_mode():
        last, blocks = pooled_blocks(tower, pixels.contiguous(memory_format=torch.channels_last))
    return last.numpy(), blocks.numpy()


def _augmented(rgb: RGB, picture: Picture, copy: int) -> RGB:
    """All pictures of a photograph share the draw, as pairs do in training."""
    rng = seeded("study", "probe", picture.group, copy)
    return draw_chain(rng, Strength().milder() if copy else NONE, (SIDE, SIDE)).apply(rgb)


def pooled_blocks(tower: Tower, pixels: Tensor) -> tuple[Tensor, Tensor]:
    """Pooled features [B, P], and summaries of the stem and the tapped blocks [B, sum C]."""
    h, seen = tower.tapped_prefix(pixels, len(tower.blocks), TAPS)
    stem = tower.summary(tower.stem(pixels))  # once more: nothing else asks a tower for it
    return tower.pool(h), torch.cat([stem, *seen.values()], dim=1)
