"""A bundle of three detectors on the papers' kind of tower with random weights: they do not change the speed.

    python -m trt_build.bench.vit_bundle FOLDER --tower clip-b16

`pixassay bench --ensemble` runs it. Three quarters of the blocks are shared, one view of the whole picture is
read. Needs torch.
"""

import argparse
from pathlib import Path

import torch

from models.bundle import CARD, Bundle, write_bundle
from models.ensemble import Ensemble
from models.spec import PolicySpec, ViewSpec
from models.towers.base import Tower
from models.towers.clip import PRESETS, empty_clip
from trt_build.bench.prefix import VIEW, ensemble
from trt_build.pack import manifest_fields, pack
from trt_build.tiny import DETECTORS

# A picture that is flagged is looked at twice, and random weights may flag any. No score reaches 1: of
# normalised features and heads as torch begins them, no logit comes near the 37 that round to it.
FLAGS_NOTHING = PolicySpec(id="bench/1", suspicious=1, synthetic=1, basis="none: it flags nothing")
TRAINING = {"data": "none: random weights, to measure speed"}


def vit_ensemble(tower: Tower, view: ViewSpec = VIEW) -> Ensemble:
    """PiN-CLIP, DGS-Net and MASM by their structure, each behind three quarters of the tower's blocks."""
    heads = {name: feature for name, (_, feature) in DETECTORS.items()}
    return ensemble(tower, heads, len(tower.blocks) * 3 // 4, view)


def write_vit_bundle(folder: Path, network: Ensemble) -> Bundle:
    """Export it as any run is exported, into a folder that is made, with thresholds that flag nothing."""
    folder.mkdir(parents=True)
    (folder / CARD).write_text("# bench\n\nRandom weights: its scores mean nothing.\n", encoding="utf-8")
    name = f"{network.tower.name}, random weights"
    pack(network, name, TRAINING, {}, folder)
    return write_bundle(folder, {**manifest_fields(network, name, TRAINING, {}), "policy": FLAGS_NOTHING})


def main() -> None:
    """Write the bundle."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("folder", type=Path, help="made; must not be there yet")
    parser.add_argument("--tower", choices=PRESETS, required=True)
    given = parser.parse_args()
    torch.manual_seed(0)  # the same bundle each time: what was measured of it is found again
    write_vit_bundle(given.folder, vit_ensemble(empty_clip(given.tower)))


if __name__ == "__main__":
    main()
