"""What every importer gives: a network that reads a view, and where it came from."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from models.ensemble import Branch, Ensemble, Feature
from models.spec import ViewSpec
from models.towers.clip import PRESETS
from models.towers.vit import VitTower
from models.towers.weights import WeightsError

CONFIG = "config.json"
WEIGHTS = ("model.safetensors", "pytorch_model.bin")  # as the hub's folders name them


@dataclass(frozen=True, slots=True)
class Imported:
    """One detector of other people, in eval mode."""

    kind: str
    net: nn.Module  # {view.name: uint8 [N, S, S, 3]} -> logit of `synthetic`, float32 [N, 1]
    view: ViewSpec
    architecture: str
    facts: dict[str, Any]  # what was read off the file, for the manifest: JSON


def head_on_tower(
    tower: VitTower, feature: Feature, view: ViewSpec, weight: Tensor, bias: Tensor
) -> Ensemble:
    """An ensemble of one: a linear head [1, C] on what a dense tower says of the whole picture."""
    branch = Branch("head", tower, len(tower.blocks), feature)
    branch.head.load_state_dict({"weight": weight, "bias": bias})
    return Ensemble(tower, [branch], [view], [view.name]).eval().requires_grad_(False)


def described(tower: VitTower) -> str:
    """The preset's name, or the sizes of a tower that is none."""
    facts = tower.facts()
    sizes = "{depth} blocks of {width} channels, patches of {patch} in {size} pixels".format(**facts)
    return tower.name if tower.name in PRESETS else f"CLIP image tower, {sizes}"


def weights_in(path: Path) -> Path:
    """The weights file itself, where `path` may be a folder of the hub. Raises WeightsError."""
    if not path.is_dir():
        return path
    found = [path / name for name in WEIGHTS if (path / name).exists()]
    if not found:
        raise WeightsError(f"{path} holds none of {', '.join(WEIGHTS)}")
    return found[0]


def read_json(file: Path) -> dict[str, Any]:
    """One JSON object. Raises WeightsError."""
    try:
        parsed = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise WeightsError(f"{file} cannot be read: {error}") from error
    if not isinstance(parsed, dict):
        raise WeightsError(f"{file}: a JSON object was expected")
    return parsed
