"""Any image classifier as a detector: its normalisation in the graph, its outputs as one logit."""

import re
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

from models.ensemble import to_pixels
from models.importing.preprocessing import Preprocessing
from models.spec import ViewSpec
from models.towers.weights import WeightsError

SYNTHETIC_WORDS = frozenset({"ai", "artificial", "deepfake", "fake", "generated", "synthetic"})


class Classifier(nn.Module):
    """uint8 view in, logit of `synthetic` [N, 1] out."""

    mean: Tensor  # [1, 3, 1, 1], of pixels in 0..255
    std: Tensor

    def __init__(self, net: nn.Module, view: ViewSpec, prepared: Preprocessing, synthetic: int) -> None:
        """`synthetic` is the index of the synthetic class; of one output, 1 says: high means synthetic."""
        super().__init__()
        self.net, self.views, self.synthetic = net, {view.name: view}, synthetic
        self.register_buffer("mean", 255 * torch.tensor(prepared.mean).view(1, 3, 1, 1))
        self.register_buffer("std", 255 * torch.tensor(prepared.std).view(1, 3, 1, 1))

    def forward(self, views: Mapping[str, Tensor]) -> Tensor:
        """View name -> uint8 [N, S, S, 3]; returns float32 [N, 1]."""
        name, view = next(iter(self.views.items()))
        outputs: Tensor = self.net((to_pixels(views[name], view) - self.mean) / self.std)  # [N, 1 or 2]
        if outputs.shape[1] == 1:
            return outputs if self.synthetic == 1 else -outputs
        return outputs[:, [self.synthetic]] - outputs[:, [1 - self.synthetic]]


def synthetic_class(where: str, outputs: int, names: Sequence[str], stated: int | None) -> int:
    """Which output says `synthetic`: as stated, or by the classes' names. Raises WeightsError."""
    if outputs not in (1, 2):
        raise WeightsError(
            f"{where} tells {outputs} classes apart ({', '.join(names[:6]) or 'unnamed'}): a detector has "
            "one output, or two, real and synthetic"
        )
    if stated is not None:
        return stated
    if outputs == 1:
        return 1
    speaking = [index for index, name in enumerate(names) if SYNTHETIC_WORDS & set(_words(name))]
    if len(speaking) != 1:
        named = ", ".join(names) or "they have no names"
        raise WeightsError(
            f"{where}: which of its two classes is synthetic ({named})? State --synthetic-index 0 or 1"
        )
    return speaking[0]


def _words(name: str) -> list[str]:
    return re.findall(r"[a-z]+", name.lower())
