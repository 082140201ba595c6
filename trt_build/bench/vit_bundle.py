"""A bundle of three detectors on the papers' kind of tower. Random weights: they do not change the speed.

    python -m trt_build.bench.vit_bundle FOLDER --tower clip-b16
    PIXASSAY_BUNDLE=FOLDER pixassay bench --quick --json

The first three quarters of the blocks are shared. Its thresholds flag nothing, so that no picture is looked
at twice. Needs torch.
"""

import argparse
from pathlib import Path

import torch

from models.bundle import CARD, Bundle, write_bundle
from models.ensemble import Branch, Ensemble
from models.spec import PolicySpec, ViewSpec
from models.towers.base import Tower
from models.towers.registry import empty_tower
from trt_build.bench.separate import POOLED
from trt_build.pack import manifest_fields, pack

DETECTORS = ("pin_clip", "dgs_net", "masm")
NOBODY = PolicySpec(id="bench/1", suspicious=0.999998, synthetic=0.999999, basis="none: flags nothing")
TRAINING = {"data": "none: random weights, for benchmarks"}


def vit_ensemble(tower: Tower, size: int) -> Ensemble:
    """Three detectors that read one view of `size` pixels, in eval mode."""
    shared = len(tower.blocks) * 3 // 4
    branches = [Branch(name, tower, shared, "pooled" if name in POOLED else "joint") for name in DETECTORS]
    with torch.no_grad():
        for branch in branches:  # equal constants would be merged by the compiler
            for weight in branch.parameters():
                weight.mul_(1 + 0.01 * torch.randn(()))
            branch.head.weight.mul_(0.1)  # logits near 0
    view = ViewSpec(name="global", kind="global", size=size)
    return Ensemble(tower, branches, [view], [view.name] * len(DETECTORS)).eval().requires_grad_(False)


def write_vit_bundle(folder: Path, ensemble: Ensemble) -> Bundle:
    """Export it as a bundle, by the product's own way, and set thresholds that flag nothing."""
    folder.mkdir(parents=True)
    (folder / CARD).write_text("# bench\n\nRandom weights: its scores mean nothing.\n", encoding="utf-8")
    name = f"random {ensemble.tower.name}"
    pack(ensemble, name, TRAINING, {}, folder)
    return write_bundle(folder, {**manifest_fields(ensemble, name, TRAINING, {}), "policy": NOBODY})


def main() -> None:
    """Write the bundle."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("folder", type=Path, help="made; must not be there yet")
    parser.add_argument("--tower", default="clip-b16", help="clip-b32, clip-b16 or clip-l14")
    given = parser.parse_args()
    torch.manual_seed(0)
    write_vit_bundle(given.folder, vit_ensemble(empty_tower(given.tower), size=224))


if __name__ == "__main__":
    main()
