"""The round trip through a tiny autoencoder of the FLUX.2 latent space: a latent diffusion decoder's trace.

A latent diffusion model draws in a latent space and its decoder paints the pixels, so encoding and
decoding a photograph leaves the decoder's trace on real content. Weights: madebyollin/taesd (MIT).
"""

from pathlib import Path
from typing import Literal

import numpy as np
import torch
from torch import Tensor, nn

from models.synthesis.base import RGB, pad_to, to_uint8

WIDTH = 64  # channels of every hidden layer
LATENT = 32  # channels of the latent, at an eighth of the resolution

Variant = Literal["plain", "noise", "coarse"]


class _Residual(nn.Module):
    """Three 3x3 convolutions beside the identity; the middle blocks first add a normalised 1x1 branch."""

    def __init__(self, *, normalised: bool = False) -> None:
        super().__init__()
        self.conv = nn.Sequential(_conv(), nn.ReLU(), _conv(), nn.ReLU(), _conv())
        self.pool = _normalised_branch() if normalised else None

    def forward(self, x: Tensor) -> Tensor:  # [N, 64, H, W] -> the same
        if self.pool is not None:
            x = x + self.pool(x)
        return torch.relu(self.conv(x) + x)


class _SoftClamp(nn.Module):
    """Latents to (-3, 3), as the decoder was trained with."""

    def forward(self, x: Tensor) -> Tensor:
        return torch.tanh(x / 3) * 3


def _conv(inputs: int = WIDTH, outputs: int = WIDTH, stride: int = 1, *, bias: bool = True) -> nn.Conv2d:
    return nn.Conv2d(inputs, outputs, 3, stride=stride, padding=1, bias=bias)


def _normalised_branch() -> nn.Sequential:
    wide = 4 * WIDTH
    widen, narrow = nn.Conv2d(WIDTH, wide, 1, bias=False), nn.Conv2d(wide, WIDTH, 1, bias=False)
    return nn.Sequential(widen, nn.GroupNorm(4, wide), nn.ReLU(), narrow)


def encoder() -> nn.Sequential:
    """RGB in [0, 1] [N, 3, H, W] -> latent [N, 32, H/8, W/8]. Layer numbers are the weight file's."""
    layers: list[nn.Module] = [_conv(3, WIDTH), _Residual()]
    for level in range(3):
        layers.append(_conv(stride=2, bias=False))
        layers += [_Residual(normalised=level == 2) for _ in range(3)]
    return nn.Sequential(*layers, _conv(WIDTH, LATENT))


def decoder() -> nn.Sequential:
    """Latent [N, 32, h, w] -> RGB in about [0, 1] [N, 3, 8h, 8w]."""
    layers: list[nn.Module] = [_SoftClamp(), _conv(LATENT, WIDTH), nn.ReLU()]
    for level in range(3):
        layers += [_Residual(normalised=level == 0) for _ in range(3)]
        layers += [nn.Upsample(scale_factor=2), _conv(bias=False)]
    return nn.Sequential(*layers, _Residual(), _conv(WIDTH, 3))


class Taef2:
    """`plain` encodes and decodes. The other two disturb the latent first, as sampling would.

    `noise` adds Gaussian noise of 5 to 20 % of the latent's deviation; `coarse` rounds the latent to
    a grid of 0.25 to 0.6 of it, which takes away fine detail like a coarse codebook.
    """

    family = "latent_autoencoder"

    def __init__(self, encoder_file: Path, decoder_file: Path, variant: Variant = "plain") -> None:
        self.name = "taef2" if variant == "plain" else f"taef2_{variant}"
        self._variant = variant
        self._encoder = _load(encoder(), encoder_file)
        self._decoder = _load(decoder(), decoder_file)

    def apply(self, rgb: RGB, rng: np.random.Generator) -> RGB:
        height, width = rgb.shape[:2]
        pixels = torch.from_numpy(pad_to(rgb, 8)).permute(2, 0, 1)[None].float() / 255
        with torch.inference_mode():
            latent = self._disturb(self._encoder(pixels.contiguous(memory_format=torch.channels_last)), rng)
            decoded = self._decoder(latent)[0].permute(1, 2, 0).numpy()
        return to_uint8(decoded)[:height, :width]

    def _disturb(self, latent: Tensor, rng: np.random.Generator) -> Tensor:
        if self._variant == "noise":
            strength = float(rng.uniform(0.05, 0.20)) * float(latent.std())
            noise = rng.standard_normal(tuple(latent.shape), dtype=np.float32)
            return latent + strength * torch.from_numpy(noise)
        if self._variant == "coarse":
            step = float(rng.uniform(0.25, 0.60)) * float(latent.std())
            return torch.round(latent / step) * step
        return latent


def _load(network: nn.Sequential, file: Path) -> nn.Sequential:
    network.load_state_dict(torch.load(file, map_location="cpu", weights_only=True))
    return network.float().eval()
