"""Training batches as tensors: the pictures of `models.data` through the views that detectors read."""

from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from models import views
from models.augment import Strength
from models.data import Batch as Pictures
from models.data import PairedBatches
from models.ensemble import residual
from models.spec import ViewSpec

CHUNK = 25  # steps that one seed is good for: a run can be resumed at their boundaries, and nowhere else


@dataclass(frozen=True, slots=True)
class Seen:
    """A paired batch: 2i is real, 2i + 1 the synthetic partner."""

    pixels: dict[str, Tensor]  # view name -> float 0..255 [2P, 3, s, s], channels last
    labels: Tensor  # [2P] float
    pictures: Pictures

    def to(self, device: torch.device) -> "Seen":
        """The same batch with its tensors on `device`."""
        moved = {name: pixels.to(device) for name, pixels in self.pixels.items()}
        return Seen(moved, self.labels.to(device), self.pictures)


@dataclass(slots=True)
class Stream:
    """An endless stream of batches that is the same from any step that is a multiple of CHUNK on."""

    source: PairedBatches
    specs: tuple[ViewSpec, ...]
    seed: int
    stage: str
    every: dict[str, int] = field(default_factory=dict)  # view -> only every n-th step; default each
    mild_steps: int = 0  # up to this step the codecs are milder: hard families are not learned otherwise
    _stages: dict[str, int] = field(default_factory=lambda: {"tune": 1, "head": 2, "methods": 3, "noise": 4})

    def since(self, step: int) -> Iterator[Seen]:
        """Batches from `step` (a multiple of CHUNK) on."""
        chunk = step // CHUNK
        while True:
            seed = np.random.SeedSequence([self.seed, self._stages[self.stage], chunk])
            self.source.seed = int(seed.generate_state(1)[0])
            mild = chunk * CHUNK < self.mild_steps
            self.source.strength = Strength().milder() if mild else Strength()
            rng = np.random.default_rng(seed)
            batches = iter(self.source)
            for index in range(CHUNK):
                at = chunk * CHUNK + index
                specs = [spec for spec in self.specs if at % self.every.get(spec.name, 1) == 0]
                yield _see(next(batches), specs, rng)
            chunk += 1


def _see(batch: Pictures, specs: list[ViewSpec], rng: np.random.Generator) -> Seen:
    pixels = {spec.name: _pixels(batch.images, spec, rng) for spec in specs}
    return Seen(pixels, torch.from_numpy(batch.labels).float(), batch)


def _pixels(images: list[NDArray[np.uint8]], spec: ViewSpec, rng: np.random.Generator) -> Tensor:
    """One tower input a picture [B, 3, s, s]; of a grid of crops, one at a place that a pair shares."""
    pixels = _tensor(_rendered(images, spec, rng))
    return residual(pixels) if spec.residual else pixels


def _rendered(
    images: list[NDArray[np.uint8]], spec: ViewSpec, rng: np.random.Generator
) -> list[NDArray[np.uint8]]:
    if spec.kind != "crops":
        return [views.render(image, spec) for image in images]
    one = spec.model_copy(update={"size": spec.tile})
    cut = []
    for index in range(0, len(images), 2):
        across, down = rng.random(2)
        cut += [
            views.render(_window(image, spec.tile, down, across), one) for image in images[index : index + 2]
        ]
    return cut


def _window(image: NDArray[np.uint8], side: int, down: float, across: float) -> NDArray[np.uint8]:
    top, left = (
        round(share * max(0, have - side)) for share, have in zip((down, across), image.shape, strict=False)
    )
    return image[top : top + side, left : left + side]


def _tensor(pictures: list[NDArray[np.uint8]]) -> Tensor:
    stacked = torch.from_numpy(np.stack(pictures)).permute(0, 3, 1, 2).float()
    return stacked.contiguous(memory_format=torch.channels_last)
