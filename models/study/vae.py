"""A generator trained by the study itself: a small convolutional VAE that paints photographs again.

Kingma and Welling, 2014 (arXiv 1312.6114): a Gaussian latent at a quarter of the resolution, sampled anew
for every picture, and a decoder of transposed convolutions, whose grid is its trace.
"""

from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from models.synthesis.base import RGB, pad_to, to_uint8

LATENT, FACTOR, PATCH, BATCH = 12, 4, 48, 24
KL_WEIGHT = 2e-4
LR = 2e-3


class Vae(nn.Module):
    """RGB in [0, 1] -> mean and log-variance at 1/4 of the sides -> RGB."""

    def __init__(self) -> None:
        super().__init__()
        self.encoder = nn.Sequential(
            *(nn.Conv2d(3, 32, 4, 2, 1), nn.ReLU(), nn.Conv2d(32, 64, 4, 2, 1), nn.ReLU()),
            nn.Conv2d(64, 2 * LATENT, 3, 1, 1),
        )
        self.decoder = nn.Sequential(
            *(nn.Conv2d(LATENT, 64, 3, 1, 1), nn.ReLU(), nn.Conv2d(64, 64, 3, 1, 1), nn.ReLU()),
            *(nn.ConvTranspose2d(64, 32, 4, 2, 1), nn.ReLU(), nn.ConvTranspose2d(32, 3, 4, 2, 1)),
        )

    def encode(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """[N, 3, H, W] -> mean and deviation, [N, 12, H/4, W/4] each."""
        mean, log_variance = self.encoder(x).chunk(2, dim=1)
        return mean, torch.exp(0.5 * log_variance.clamp(-10, 5))

    def forward(self, x: Tensor, noise: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Reconstruction, mean, deviation."""
        mean, deviation = self.encode(x)
        painted: Tensor = self.decoder(mean + deviation * noise)
        return painted, mean, deviation


def train_vae(photographs: list[RGB], steps: int, file: Path, seed: int = 0) -> None:
    """Fit on random patches of photographs (at least PATCH a side); minimises L1 + KL. Writes the weights."""
    torch.manual_seed(seed)
    rng = np.random.default_rng(seed)
    vae = Vae()
    optimiser = torch.optim.AdamW(vae.parameters(), lr=LR, weight_decay=0.0)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, max(1, steps))
    for _ in range(steps):
        x = _patches(photographs, rng)
        noise = torch.randn(len(x), LATENT, PATCH // FACTOR, PATCH // FACTOR)
        painted, mean, deviation = vae(x, noise)
        kl = 0.5 * (mean**2 + deviation**2 - 1 - 2 * deviation.log()).mean()
        loss = F.l1_loss(painted, x) + KL_WEIGHT * kl
        optimiser.zero_grad()
        torch.autograd.backward(loss)
        optimiser.step()
        schedule.step()
    file.parent.mkdir(parents=True, exist_ok=True)
    torch.save(vae.state_dict(), file)


def _patches(photographs: list[RGB], rng: np.random.Generator) -> Tensor:
    """A batch [N, 3, 48, 48] in [0, 1]."""
    cut = []
    for index in rng.integers(len(photographs), size=BATCH):
        rgb = photographs[index]
        top, left = (int(rng.integers(side - PATCH + 1)) for side in rgb.shape[:2])
        cut.append(rgb[top : top + PATCH, left : left + PATCH])
    return torch.from_numpy(np.stack(cut)).permute(0, 3, 1, 2).float() / 255


class OwnVae:
    """The trained network as a re-synthesis generator."""

    name = family = "own_vae"

    def __init__(self, file: Path) -> None:
        self._vae = Vae()
        self._vae.load_state_dict(torch.load(file, map_location="cpu", weights_only=True))
        self._vae.eval()

    def apply(self, rgb: RGB, rng: np.random.Generator) -> RGB:
        """The same size, painted from a sampled latent."""
        height, width = rgb.shape[:2]
        x = torch.from_numpy(pad_to(rgb, FACTOR)).permute(2, 0, 1)[None].float() / 255
        shape = (1, LATENT, x.shape[2] // FACTOR, x.shape[3] // FACTOR)
        noise = torch.from_numpy(rng.standard_normal(shape, dtype=np.float32))
        with torch.inference_mode():
            painted = self._vae(x, noise)[0][0].permute(1, 2, 0).numpy()
        return to_uint8(painted)[:height, :width]
