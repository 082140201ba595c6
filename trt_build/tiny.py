"""A bundle of random weights in a few seconds: the fixture of everybody's tests."""

from pathlib import Path

import torch

from models.bundle import CARD, Bundle
from models.ensemble import Branch, Ensemble, Feature
from models.spec import ViewSpec
from models.towers.tiny import TinyTower
from trt_build.graph_file import ONE_FILE
from trt_build.pack import pack

VIEWS = [
    ViewSpec(name="crops", kind="crops", size=128, tile=64),
    ViewSpec(name="mosaic", kind="mosaic", size=224),
]
DETECTORS: dict[str, tuple[str, Feature]] = {  # name -> view, feature
    "pin_clip": ("crops", "joint"),
    "dgs_net": ("mosaic", "joint"),
    "masm": ("crops", "pooled"),
}


def tiny_ensemble(seed: int = 0) -> Ensemble:
    """Three detectors with random weights on the `tiny` tower, in eval mode."""
    tower = TinyTower(seed)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed + 1)
        branches = [Branch(name, tower, 2, feature) for name, (_, feature) in DETECTORS.items()]
        for branch in branches:
            for weight in branch.parameters():  # detectors that differ from each other
                weight.data += 0.1 * torch.randn_like(weight)
    return Ensemble(tower, branches, VIEWS, [view for view, _ in DETECTORS.values()]).eval()


def write_tiny_bundle(path: Path, seed: int = 0, one_file: int = ONE_FILE) -> Bundle:
    """Export `tiny_ensemble(seed)` with golden logits into the folder `path` (made if missing).

    `one_file` 0 puts its weights into a data file beside the graph, as those of large towers are.
    """
    path.mkdir(parents=True, exist_ok=True)
    (path / CARD).write_text(
        "# tiny\n\nRandom weights, for tests: its scores mean nothing.\n", encoding="utf-8"
    )
    return pack(
        tiny_ensemble(seed), "tiny", {"data": "none: random weights", "seed": seed}, {}, path, one_file
    )
