"""Ensembles on the papers' kind of tower, CLIP's ViT-B. Weights are random: they do not change the speed.

Theirs are other ratios than those of the bundle that ships: the network takes more of the time, and what
stands around it less.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from enum import StrEnum

from stream.bench.lane import Sizes
from stream.bench.torch_program import NO_TORCH, has_torch, output_of
from stream.embedded.places import temporary_folder
from stream.errors import PixassayError
from stream.settings import Settings, load_settings

PROGRAM = "trt_build.bench.vit_bundle"


class RandomVit(StrEnum):
    """Those that `pixassay bench --ensemble` takes: three detectors, nine of the twelve blocks shared."""

    VIT_B16 = "vit-b16"
    VIT_B32 = "vit-b32"

    @property
    def tower(self) -> str:
        """Its name in models/towers."""
        return self.value.replace("vit", "clip")

    def sizes(self, rounds: int, quick: bool) -> Sizes:
        """How much is measured: a picture of the naive loop takes hundreds of milliseconds on ViT-B/16."""
        lane = {RandomVit.VIT_B16: 128, RandomVit.VIT_B32: 384}[self] * (1 if quick else 2)
        return Sizes(lane=lane, naive=lane // 8, rounds=rounds, paced=lane // 2, backlog=0)


@contextmanager
def serving(ensemble: RandomVit) -> Iterator[Settings]:
    """The settings, but for a bundle of `ensemble` and its own policy. Raises PixassayError without torch."""
    if not has_torch():
        raise PixassayError(f"an ensemble of random weights {NO_TORCH}")
    with temporary_folder("vit") as folder:
        bundle = folder / "bundle"
        output_of(PROGRAM, [str(bundle), "--tower", ensemble.tower])
        yield load_settings(bundle=bundle, policy=None)
