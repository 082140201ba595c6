"""Towers by name."""

from models.towers.base import Tower
from models.towers.lite0 import Lite0Tower, imagenet_lite0
from models.towers.tiny import TinyTower

NAMES = ("lite0", "tiny")


def empty_tower(name: str) -> Tower:
    """The architecture, to be filled from a checkpoint. Raises KeyError for an unknown name."""
    match name:
        case "lite0":
            return Lite0Tower()
        case "tiny":
            return TinyTower()
    raise KeyError(f"{name!r} is no tower; there are {', '.join(NAMES)}")


def pretrained_tower(name: str) -> Tower:
    """The tower as training starts from it."""
    return imagenet_lite0() if name == "lite0" else empty_tower(name)
