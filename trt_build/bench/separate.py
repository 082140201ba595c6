"""The bundle's detectors as people run them in torch: each a network of its own, nothing shared.

A bundle carries no torch weights. Speed depends on the architecture alone, so the networks here have the
tower, the blocks and the views that the manifest names, and random heads.
"""

from models.ensemble import Branch, Ensemble
from models.spec import Manifest, ViewSpec
from models.towers.registry import empty_tower

POOLED = frozenset({"masm"})  # detectors whose head reads the pooled features


def separate_detectors(manifest: Manifest) -> list[Ensemble]:
    """One ensemble of one detector for each of the manifest's, whole towers, in eval mode."""
    views = {view.name: view for view in manifest.views}
    return [_alone(_tower(manifest, each.name), each.name, views[each.view]) for each in manifest.detectors]


def _tower(manifest: Manifest, detector: str) -> str:
    """The bundle's, but for a detector that came from a bundle of its own."""
    imported = manifest.training.get("imported", {}).get(detector, {})
    return str(imported["architecture"]) if imported.get("kind") == "bundle" else manifest.tower


def _alone(tower_name: str, detector: str, view: ViewSpec) -> Ensemble:
    tower = empty_tower(tower_name)
    branch = Branch(detector, tower, 0, "pooled" if detector in POOLED else "joint")
    return Ensemble(tower, [branch], [view], [view.name]).eval().requires_grad_(False)
