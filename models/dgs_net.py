"""DGS-Net: distillation-guided gradient surgery (Yan et al., arXiv 2511.13108; code HorizonTEL/DGS-Net).

Stage 1 trains a linear head on the frozen tower: the teacher. Stage 2 trains a LoRA branch. There the
feature gradient is freed, sample by sample, of the direction in which the caption alone would change
the verdict, and the features are drawn along what the teacher finds beneficial.
"""

from collections.abc import Callable
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from models.adapters import LoRA, adapt
from models.ensemble import Branch
from models.methods import Batch, Method
from models.towers.base import Tower

EPS = 1e-6
# The paper's alignment term divides by the batch size twice (once in BCE's mean, once in its own): its
# weight of 0.2 holds for batches of 32. Here it is stated per sample, so the batch size is free.
REFERENCE_BATCH = 32


class DgsNet(Method):
    """LoRA branch on the joint embedding with a frozen teacher and a text head.

    L = BCE(z, y) + BCE(text head(u), y) + 0.2 L_help, with the gradient at f projected (code, stage 2).
    """

    name = "dgs_net"

    def __init__(
        self,
        tower: Tower,
        start: int,
        *,
        alignment: float = 0.2,
        surgery: bool = True,
        rank: int = 6,
        alpha: float = 6.0,
        dropout: float = 0.8,
    ) -> None:
        """`rank`, `alpha` and `dropout` of LoRA; the defaults are those of the authors' code."""
        super().__init__()
        self.alignment, self.surgery = alignment, surgery
        self.branch = Branch(self.name, tower, start, "joint")
        self.teacher = Branch("teacher", tower, start, "joint").requires_grad_(False)  # the frozen tower
        self.text_head = nn.Linear(tower.joint_dim, 1)
        lora = partial(LoRA, rank=rank, alpha=alpha, dropout=dropout)
        adapt(self.branch.blocks, tower, lora, tower.attending)
        self._seen: dict[str, float] = {}

    def set_teacher(self, head: nn.Linear) -> None:
        """Take over the head of stage 1, for the teacher and as the start of the branch's own."""
        self.teacher.head.load_state_dict(head.state_dict())
        self.branch.head.load_state_dict(head.state_dict())

    def losses(self, tower: Tower, batch: Batch) -> dict[str, Tensor]:
        """`image`, `text`, `help` and their weighted sum."""
        with torch.no_grad():
            teacher = self.teacher.features(tower, batch.prefix)  # fT [B, J]
        g_image = bce_gradient(self.teacher.head, teacher, batch.labels)  # dL/dfT per sample [B, J]
        g_text = bce_gradient(self.text_head, batch.captions, batch.labels)  # dL/du per sample [B, J]
        f = self.branch.features(tower, batch.prefix)  # [B, J]
        if self.surgery and f.requires_grad:
            f.register_hook(surgeon(harmful(g_text)))  # type: ignore[no-untyped-call]
        logits, text_logits = self.branch.head(f)[:, 0], self.text_head(batch.captions)[:, 0]
        image = F.binary_cross_entropy_with_logits(logits, batch.labels)
        text = F.binary_cross_entropy_with_logits(text_logits, batch.labels)  # trains the text head alone
        helpful = (f * beneficial(g_image)).sum(dim=1).mean() / REFERENCE_BATCH
        self._seen = {"cosine_to_teacher": float(F.cosine_similarity(f.detach(), teacher).mean())}
        total = image + text + self.alignment * helpful
        return {"total": total, "image": image, "text": text, "help": helpful}

    def monitors(self) -> dict[str, float]:
        """How far the branch has moved away from the teacher."""
        return dict(self._seen)


def bce_gradient(head: nn.Module, features: Tensor, labels: Tensor) -> Tensor:
    """Gradient of each sample's own BCE at its features [B, J]; nothing else receives a gradient."""
    with torch.enable_grad():
        leaf = features.detach().requires_grad_(True)
        loss = F.binary_cross_entropy_with_logits(head(leaf)[:, 0], labels, reduction="sum")
        gradient: Tensor = torch.autograd.grad(loss, leaf)[0]
    return gradient


def beneficial(gradient: Tensor) -> Tensor:
    """g_help = min(g, 0), element-wise [B, J]: where growing features lower the teacher's loss."""
    return gradient.clamp(max=0)


def harmful(gradient: Tensor) -> Tensor:
    """g_harm = max(g, 0), element-wise, then each sample L2-normalised [B, J]."""
    positive = gradient.clamp(min=0)
    unit: Tensor = positive / (positive.norm(dim=1, keepdim=True) + EPS)
    return unit


def surgeon(direction: Tensor) -> Callable[[Tensor], Tensor]:
    """A hook that takes the part along `direction` [B, J] out of a gradient G: G - <G, d> d per sample."""

    def operate(gradient: Tensor) -> Tensor:
        along = (gradient * direction).sum(dim=1, keepdim=True) * direction  # in float32
        return (gradient - along).to(gradient.dtype)

    return operate
