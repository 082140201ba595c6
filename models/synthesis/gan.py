"""Faces from noise by a small DCGAN (gan-face-generate): no photograph stands behind them."""

import itertools
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from models.synthesis.base import RGB, draw_kernel, resize, to_uint8


class DcganFace:
    """A 64-pixel face, enlarged to cover the photograph's frame and cropped to it.

    The photograph gives its size only. Enlarging by so much can be told by blur alone: read the
    figures of this generator with that in mind.
    """

    name = "dcgan_face64"
    family = "gan_noise"

    def __init__(self, weights: Path) -> None:
        self._network = _load(weights)

    def apply(self, rgb: RGB, rng: np.random.Generator) -> RGB:
        height, width = rgb.shape[:2]
        noise = torch.from_numpy(rng.standard_normal((1, 100, 1, 1), dtype=np.float32))
        with torch.inference_mode():
            face = to_uint8(self._network(noise)[0].permute(1, 2, 0).numpy() * 0.5 + 0.5)
        side = max(height, width)
        large = resize(face, side, side, draw_kernel(rng, ("bilinear", "bicubic", "lanczos")))
        top, left = (side - height) // 2, (side - width) // 2
        return large[top : top + height, left : left + width]


def _load(weights: Path) -> nn.Sequential:
    stored: dict[str, Any] = torch.load(weights, map_location="cpu", weights_only=True)
    network = _decoder()
    prefix = "main."
    network.load_state_dict({k.removeprefix(prefix): v for k, v in stored["netG_state_dict"].items()})
    return network.eval()


def _decoder(noise: int = 100, width: int = 64) -> nn.Sequential:
    """Noise [N, 100, 1, 1] -> face [N, 3, 64, 64] in [-1, 1]: the generator of Radford et al., DCGAN."""
    layers: list[nn.Module] = []
    channels = [noise, width * 8, width * 4, width * 2, width]
    for index, (inputs, outputs) in enumerate(itertools.pairwise(channels)):
        stride, padding = (1, 0) if index == 0 else (2, 1)
        layers.append(nn.ConvTranspose2d(inputs, outputs, 4, stride, padding, bias=False))
        layers += [nn.BatchNorm2d(outputs), nn.ReLU()]
    return nn.Sequential(*layers, nn.ConvTranspose2d(width, 3, 4, 2, 1, bias=False), nn.Tanh())
