"""Towers by name."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from models.towers.base import Tower, TowerError
from models.towers.clip import PRESETS, clip_tower, empty_clip
from models.towers.clip_text import ClipText, clip_text
from models.towers.lite0 import Lite0Tower, imagenet_lite0
from models.towers.statistics import StatisticsTower
from models.towers.tiny import TinyTower
from models.towers.vit import VitTower
from models.towers.weights import WeightsError, read_weights

TIMM = "timm:"
NAMES = ("lite0", "statistics", "tiny", *PRESETS, f"{TIMM}<model>")


def empty_tower(name: str, facts: Mapping[str, Any] | None = None) -> Tower:
    """The architecture, to be filled from a checkpoint that carries the tower's `facts`.

    Raises TowerError for an unknown name.
    """
    given = dict(facts or {})
    if name.startswith(TIMM):
        from models.towers.timm_tower import empty_timm

        return empty_timm(name, given.get("size"))
    if given and name in (*PRESETS, "vit"):
        return VitTower(name=name, **given)
    if name in PRESETS:
        return empty_clip(name)
    match name:
        case "lite0":
            return Lite0Tower()
        case "statistics":
            return StatisticsTower()
        case "tiny":
            return TinyTower()
    raise TowerError(f"{name!r} is no tower; there are {', '.join(NAMES)}")


def pretrained_tower(name: str, weights: Path | None = None) -> Tower:
    """The tower as training starts from it. Raises TowerError, WeightsError."""
    if name in PRESETS:
        if weights is None:
            raise WeightsError(
                f"{name} needs --weights FILE: a CLIP of that size, in OpenAI's or HF's layout"
            )
        return clip_tower(name, weights)
    if name.startswith(TIMM):
        from models.towers.timm_tower import timm_tower

        return timm_tower(name, weights)
    if weights is not None:
        raise WeightsError(f"{name} brings its own weights: leave --weights out")
    return imagenet_lite0() if name == "lite0" else empty_tower(name)


def pretrained_text(tower: Tower, weights: Path | None) -> ClipText | None:
    """The text tower that belongs to `tower`, where its weights file holds one. Raises WeightsError."""
    if tower.name not in PRESETS or weights is None:
        return None
    return clip_text(read_weights(weights), tower.joint_dim)
