"""MASM, later FMSD: multiple artifact subspaces with a selective layer mask (arXiv 2601.01041).

Each adapted matrix keeps its principal singular directions as semantics and learns in several small
artifact subspaces (adapters.Subspaces). After a warm-up, bias-variance statistics of the gradients
choose the layers that go on; the others get their pretrained weight back, bit for bit. The loss
constants are not published; the normalised forms below make them independent of the layers' sizes.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from models.adapters import Adapter, Matrix, Subspaces, adapt
from models.ensemble import Branch
from models.methods import Batch, Method
from models.towers.base import Tower

EPS = 1e-12


class Masm(Method):
    """Subspace branch on the pooled features: L = CE + orth * L_orth + spec * L_spec."""

    name = "masm"

    def __init__(
        self,
        tower: Tower,
        start: int,
        *,
        count: int = 4,
        rank: int = 2,
        orth: float = 0.1,
        spec: float = 0.1,
        keep: float = 0.5,
        warm_up: float = 0.25,
    ) -> None:
        """`count` subspaces of `rank` a matrix; `keep` of the layers stay after `warm_up` of the steps."""
        super().__init__()
        self.orth, self.spec, self.keep, self.warm_up = orth, spec, keep, warm_up
        self.branch = Branch(self.name, tower, start, "pooled")

        def make(layer: Matrix) -> Adapter:
            return Subspaces(layer, count, rank)

        self.layers = [a for a in adapt(self.branch.blocks, tower, make) if isinstance(a, Subspaces)]
        # Buffers: a run that is cut off in the warm-up goes on with what it had seen.
        self.statistics = nn.ModuleList(GradientStatistics(layer) for layer in self.layers)

    def losses(self, tower: Tower, batch: Batch) -> dict[str, Tensor]:
        """`ce`, `orth`, `spec` and their weighted sum. CE over {real, synthetic} is BCE of one logit."""
        logits = self.branch.head(self.branch.features(tower, batch.prefix))[:, 0]
        ce = F.binary_cross_entropy_with_logits(logits, batch.labels)
        active = [layer for layer in self.layers if layer.selected]
        with torch.autocast(batch.labels.device.type, enabled=False):  # differences from identity: in float32
            orth = torch.stack([orthogonality(layer) for layer in active]).mean()
            spec = torch.stack([spectral_change(layer) for layer in active]).mean()
        return {"total": ce + self.orth * orth + self.spec * spec, "ce": ce, "orth": orth, "spec": spec}

    def after_step(self, step: int, steps: int) -> None:
        """Collect gradients during the warm-up; at its end choose the layers."""
        last = max(2, round(self.warm_up * steps))
        if step <= last:
            for layer, seen in zip(self.layers, self.seen(), strict=True):
                seen.add(layer)
        if step == last:
            self.select()

    def seen(self) -> list["GradientStatistics"]:
        """The statistics of each layer."""
        return [one for one in self.statistics if isinstance(one, GradientStatistics)]

    def select(self) -> None:
        """Keep the layers of highest bias^2 / variance; the others fall back to the pretrained weight."""
        scores = torch.tensor([seen.score() for seen in self.seen()])
        chosen = set(
            scores.argsort(descending=True, stable=True)[: max(1, round(self.keep * len(scores)))].tolist()
        )
        for index, layer in enumerate(self.layers):
            if index not in chosen:
                layer.reset()

    def monitors(self) -> dict[str, float]:
        """How many layers are in."""
        return {"layers": float(sum(layer.selected for layer in self.layers))}


class GradientStatistics(nn.Module):
    """Running mean and variance of one layer's artifact gradients over mini-batches (Welford)."""

    count: Tensor  # []
    mean: Tensor  # [G]
    scatter: Tensor  # [G]

    def __init__(self, layer: Subspaces) -> None:
        super().__init__()
        self.register_buffer("count", torch.zeros(()))
        size = sum(parameter.numel() for parameter in _learned(layer))
        for name in ("mean", "scatter"):
            self.register_buffer(name, torch.zeros(size))

    def add(self, layer: Subspaces) -> None:
        """Take in the gradients that the last backward pass left on the layer."""
        parts = [p.grad.flatten() for p in _learned(layer) if p.grad is not None]
        if not parts:
            return
        gradient = torch.cat(parts)
        self.count += 1
        change = gradient - self.mean
        self.mean += change / self.count
        self.scatter += change * (gradient - self.mean)

    def score(self) -> float:
        """bias / variance = ||mean g||^2 / (mean ||g - mean g||^2 + eps); 0 where nothing was seen."""
        variance = self.scatter.sum() / self.count.clamp(min=1)
        return float(self.mean.square().sum() / (variance + EPS))


def _learned(layer: Subspaces) -> tuple[nn.Parameter, ...]:
    return layer.u, layer.s, layer.v


def orthogonality(layer: Subspaces) -> Tensor:
    """L_orth of one layer: artifact subspaces orthonormal, orthogonal to the semantic one and to each other.

    With U = [U_1 .. U_K], [out, K m]: ||U^T U_sem||_F^2 + ||U^T U - I||_F^2 / 2 + diagonal blocks / 2,
    which is the sum over k of the terms against U_sem and I and over k < l of those between subspaces;
    the same for V; divided by K m.
    """
    count, _, rank = layer.u.shape
    device = layer.u.device
    u = layer.u.transpose(1, 2).reshape(count * rank, -1)  # [K m, out]
    v = layer.v.reshape(count * rank, -1)  # [K m, in]
    own = torch.kron(torch.eye(count), torch.ones(rank, rank)).to(device)  # 1 within a subspace
    total = (u @ layer.u_sem).square().sum() + (v @ layer.v_sem.T).square().sum()
    for side in (u, v):
        off = (side @ side.T - torch.eye(count * rank, device=device)).square()
        total = total + 0.5 * off.sum() + 0.5 * (off * own).sum()
    return total / (count * rank)


def spectral_change(layer: Subspaces) -> Tensor:
    """L_spec of one layer: | ||W||_F^2 - ||W0||_F^2 | / ||W0||_F^2."""
    before = layer.original.square().sum()
    return (layer.matrix().square().sum() - before).abs() / before
