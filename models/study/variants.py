"""Every variant that a cell trains side by side: the three detectors, their ablations, plain LoRA.

Variants of one view start from the same weights and see the same batches and the same random numbers
(LoRA's initial matrices, dropout masks), so that two columns differ by the method and nothing else.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor, nn

from models.dgs_net import DgsNet
from models.masm import Masm
from models.methods import Method
from models.pin_clip import NoiseGenerator, PinClip
from models.study.plan import CROPS, MOSAIC
from models.towers.base import Tower


class MeanOnly(NoiseGenerator):
    """PiN-CLIP's generator without noise: a learned shift mu of the features, s = 0."""

    def forward(self, f: Tensor, text: Tensor) -> tuple[Tensor, Tensor]:
        mu, s = super().forward(f, text)
        return mu, torch.zeros_like(s)


@dataclass(frozen=True, slots=True)
class Variant:
    """One column. `ablates` names the method that it takes something away from."""

    name: str
    title: str
    view: str
    make: Callable[[Tower, int], Method]
    ablates: str = ""


def _pin_mean_only(tower: Tower, start: int) -> Method:
    method = PinClip(tower, start)
    width = method.generator.q.weight.shape
    method.generator = MeanOnly(width[1], width[0])
    return method


_plain_lora = partial(PinClip, weight=0.0)  # PiN-CLIP without noise and without its second loss
_no_losses = partial(Masm, orth=0.0, spec=0.0)
_crops, _mosaic = CROPS.name, MOSAIC.name
VARIANTS = (
    Variant("plain_lora", "plain LoRA, crops (PiN-CLIP without noise)", _crops, _plain_lora, "pin_clip"),
    Variant("pin_clip", "PiN-CLIP", _crops, PinClip),
    Variant("pin_mean_only", "PiN-CLIP, learned shift only, no noise", _crops, _pin_mean_only, "pin_clip"),
    Variant("masm", "MASM", _crops, Masm),
    Variant("masm_no_losses", "MASM without the subspace losses", _crops, _no_losses, "masm"),
    Variant("masm_no_mask", "MASM without the mask", _crops, partial(Masm, keep=1.0), "masm"),
    Variant("lora_mosaic", "plain LoRA, mosaic (DGS-Net without both)", _mosaic, _plain_lora, "dgs_net"),
    Variant("dgs_net", "DGS-Net", _mosaic, DgsNet),
    Variant("dgs_no_surgery", "DGS-Net without surgery", _mosaic, partial(DgsNet, surgery=False), "dgs_net"),
    Variant(
        "dgs_no_alignment", "DGS-Net without alignment", _mosaic, partial(DgsNet, alignment=0.0), "dgs_net"
    ),
)


def build(variant: Variant, tower: Tower, start: int, head: nn.Linear, seed: int) -> Method:
    """The variant's method behind block `start`, its head the one that the tower was tuned with."""
    torch.manual_seed(seed)
    method = variant.make(tower, start)
    method.branch.head.load_state_dict(head.state_dict())
    if isinstance(method, DgsNet):
        method.set_teacher(head)
    return method
