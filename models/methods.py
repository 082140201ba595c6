"""What the three methods have in common: one branch each, trained behind the frozen shared prefix."""

from abc import ABC, abstractmethod
from dataclasses import dataclass

from torch import Tensor, nn

from models.ensemble import Branch
from models.towers.base import Tower

CLASSES = (0, 1)  # 0 real, 1 synthetic: the order of towers.base.CLASS_PROMPTS


@dataclass(frozen=True, slots=True)
class Batch:
    """What one step of a method sees of a batch of B pictures, all of one view."""

    prefix: Tensor  # the shared prefix's output, no gradient
    labels: Tensor  # [B] float, 1 = synthetic
    captions: Tensor  # [B, J] frozen text embeddings of the pictures' captions


class Method(nn.Module, ABC):
    """A way of training one detector. `branch` is all that survives into the bundle."""

    name: str
    branch: Branch

    @abstractmethod
    def losses(self, tower: Tower, batch: Batch) -> dict[str, Tensor]:
        """Named scalar losses; `total` is what is minimised. `tower` is frozen."""

    def after_step(self, step: int, steps: int) -> None:
        """Called after each optimiser step, counted from 1."""

    def monitors(self) -> dict[str, float]:
        """Figures worth a column in the log."""
        return {}
