"""PiN-CLIP: positive-incentive noise in feature space (Yan et al., arXiv 2511.16136).

A generator looks at the features and at the texts of both classes and proposes Gaussian noise;
detector and generator are trained together so that the noisy features are classified right too.
The noise needs no label, and generator and noise are dropped at serving: only the branch is kept.
Where the paper is silent its parents speak: VPN (hyzhang98/VPN) and PiNI (hyzhang98/PiNI).
"""

from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from models.adapters import LoRA, adapt
from models.ensemble import Branch
from models.methods import Batch, Method
from models.towers.base import Tower

NEAR_ZERO = 1e-3  # of the last layers: training starts as plain LoRA


class NoiseGenerator(nn.Module):
    """Cross-attention of the features over the two class texts -> mean and scale of Gaussian noise."""

    def __init__(self, dim: int, hidden: int) -> None:
        super().__init__()
        self.q, self.k, self.v = (nn.Linear(dim, hidden, bias=False) for _ in range(3))
        self.mean, self.scale = (nn.Linear(hidden, dim) for _ in range(2))
        for last in (self.mean, self.scale):
            nn.init.normal_(last.weight, std=NEAR_ZERO / hidden**0.5)
            nn.init.zeros_(last.bias)

    def forward(self, f: Tensor, text: Tensor) -> tuple[Tensor, Tensor]:
        """Features [B, J] and class texts [2, J] -> mu [B, J], s [B, J] with s >= 0."""
        q, k, v = self.q(f), self.k(text), self.v(text)  # [B, h], [2, h], [2, h]
        attention = torch.softmax(q @ k.T / q.shape[1] ** 0.5, dim=1)  # [B, 2]
        mixed = attention @ v  # [B, h]
        return self.mean(mixed), self.scale(mixed).abs()


class PinClip(Method):
    """LoRA branch on the joint embedding, trained on clean and on noisy features.

    L = BCE(head(f), y) + weight * mean over `samples` of BCE(head(f + mu + s z), y), z ~ N(0, I):
    the base loss and the variational bound of I(T; E) (VPN, section 3: the bound is the expected
    log-likelihood under reparameterised noise).
    """

    name = "pin_clip"

    def __init__(
        self,
        tower: Tower,
        start: int,
        *,
        weight: float = 1.0,
        samples: int = 1,
        reduction: int = 4,
        rank: int = 6,
        alpha: float = 6.0,
        dropout: float = 0.8,
    ) -> None:
        """`samples` of noise a step; `rank`, `alpha` and `dropout` of LoRA as in DGS-Net's code."""
        super().__init__()
        self.weight, self.samples = weight, samples
        self.branch = Branch(self.name, tower, start, "joint")
        lora = partial(LoRA, rank=rank, alpha=alpha, dropout=dropout)
        adapt(self.branch.blocks, tower, lora, tower.attending)
        self.generator = NoiseGenerator(tower.joint_dim, tower.joint_dim // reduction)
        self._seen: dict[str, float] = {}

    def losses(self, tower: Tower, batch: Batch) -> dict[str, Tensor]:
        """`clean`, `noisy` and their sum."""
        f = self.branch.features(tower, batch.prefix)  # [B, J]
        clean = F.binary_cross_entropy_with_logits(self.branch.head(f)[:, 0], batch.labels)
        mu, s = self.generator(f, tower.class_text)
        noisy_logits = self.branch.head(f + self.draw(mu, s))[..., 0]  # [m, B]
        noisy = F.binary_cross_entropy_with_logits(noisy_logits, batch.labels.expand(self.samples, -1))
        size = f.detach().norm(dim=1).mean()
        self._seen = {
            "mu_over_f": float(mu.detach().norm(dim=1).mean() / size),
            "s_over_f": float(s.detach().norm(dim=1).mean() / size),
        }
        return {"total": clean + self.weight * noisy, "clean": clean, "noisy": noisy}

    def draw(self, mu: Tensor, s: Tensor) -> Tensor:
        """Reparameterised noise mu + s z, z ~ N(0, I): [m, B, J] of mu and s [B, J]."""
        return mu + s * torch.randn(self.samples, *mu.shape, device=mu.device)

    def noise(self, tower: Tower, f: Tensor) -> Tensor:
        """The noise that training would add to features [B, J]: [m, B, J]."""
        return self.draw(*self.generator(f, tower.class_text))

    def monitors(self) -> dict[str, float]:
        """Collapse shows here: s -> 0 is plain LoRA, mu without bound is a head that learns on mu."""
        return dict(self._seen)
