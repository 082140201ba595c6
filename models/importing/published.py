"""The published files of DGS-Net, Effort and UnivFD as detectors, with the pixels of the published code."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch

from models.importing import dgs_net, effort, univfd
from models.importing.clip_tower import read_as_imagenet
from models.importing.imported import Imported, described, head_on_tower
from models.importing.preprocessing import CLIP, IMAGENET, Given, Preprocessing
from models.towers.clip import clip_weights, tower_of
from models.towers.weights import State, WeightsError, read_weights


@dataclass(frozen=True, slots=True)
class Source:
    """A file that was read, and what the user stated beside it."""

    path: Path
    state: State
    given: Given
    clip: Path | None = None  # an untouched CLIP, for files that need one
    lora_scale: float | None = None

    def clip_state(self) -> State | None:
        """The image tower of `clip`, in the names of VitTower."""
        return clip_weights(read_weights(self.clip), str(self.clip)) if self.clip else None


def import_dgs_net(source: Source) -> Imported:
    """Its mosaic, ImageNet's normalisation (which goes into the patch weights). Raises WeightsError."""
    where = str(source.path)
    found = dgs_net.convert(where, source.state, source.clip_state(), source.lora_scale)
    tower = tower_of(found.tower, where)
    read_as_imagenet(tower)
    size = tower.facts()["size"]
    pixels = Preprocessing(size, size, *IMAGENET, fit="mosaic")
    view = source.given.view_over(where, pixels).view()
    net = head_on_tower(tower, "joint", view, found.head_weight, found.head_bias)
    return Imported("dgs-net", net, view, described(tower), {"lora_was_merged": found.merged})


def import_effort(source: Source) -> Imported:
    """The deepfake tree squashes a face to the size, the other crops the centre. Raises WeightsError.

    Its face is cut out around five landmarks and turned upright; ours is the square around it, as it stands.
    """
    where = str(source.path)
    found = effort.convert(where, source.state)
    # The deepfake tree stores no projection, and neither tree's head reads one.
    unread = source.clip_state() or {"projection.weight": torch.zeros(1, found.head_weight.shape[1])}
    tower = tower_of({"projection.weight": unread["projection.weight"]} | found.tower, where)
    size = tower.facts()["size"]
    pixels = {
        "deepfake": Preprocessing(size, size, *CLIP, resample="bilinear", fit="squash", face=True),
        "universal": Preprocessing(size, size, *CLIP, fit="native"),
    }[found.tree]
    view = source.given.view_over(where, pixels).view()
    net = head_on_tower(tower, "pooled", view, found.head_weight, found.head_bias)
    return Imported("effort", net, view, described(tower), {"tree": found.tree, "residual_rank": found.rank})


def import_univfd(source: Source) -> Imported:
    """The central pixels as they are, on the CLIP that the user gives. Raises WeightsError."""
    where, clip = str(source.path), source.clip_state()
    if clip is None:
        raise WeightsError(
            f"{where} is UnivFD's head alone: give the CLIP that it reads (ViT-L/14 of OpenAI) with "
            "--clip-weights FILE"
        )
    tower = tower_of(clip, str(source.clip))
    weight, bias = univfd.convert(where, source.state, tower.joint_dim)
    size = tower.facts()["size"]
    pixels = Preprocessing(size, size, *CLIP, fit="native")
    view = source.given.view_over(where, pixels).view()
    return Imported("univfd", head_on_tower(tower, "joint", view, weight, bias), view, described(tower), {})


PUBLISHED: dict[str, Callable[[Source], Imported]] = {
    "dgs-net": import_dgs_net,
    "effort": import_effort,
    "univfd": import_univfd,
}
