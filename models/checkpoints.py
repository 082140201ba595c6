"""A trained ensemble on disk: folded weights in one safetensors file, strictly by name."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file

from models.ensemble import Branch, Ensemble, Feature
from models.errors import ModelError
from models.spec import ViewSpec
from models.towers.base import Tower
from models.towers.registry import empty_tower

FILE = "detectors.safetensors"
FORMAT = "pixassay.detectors/1"


class CheckpointError(ModelError):
    """The file is no checkpoint of ours, or does not fit; the message says what is wrong."""


def save_ensemble(ensemble: Ensemble, folder: Path, facts: dict[str, Any]) -> Path:
    """Write <folder>/detectors.safetensors. `facts` (data, recipe, losses) travels along as JSON."""
    branches = [
        {
            "name": b.name,
            "start": b.start,
            "feature": b.feature,
            "taps": list(b.taps),
            "bounded": b.bounds is not None,
            "limit": b.limit,
        }
        for b in ensemble.detectors()
    ]
    described = {
        "format": FORMAT,
        "tower": ensemble.tower.name,
        "tower_facts": ensemble.tower.facts(),
        "views": [view.model_dump() for view in ensemble.views.values()],
        "branches": branches,
        "reads": ensemble.reads,
        "facts": facts,
    }
    tensors = {name: value.contiguous() for name, value in ensemble.state_dict().items()}
    save_file(tensors, folder / FILE, metadata={"pixassay": json.dumps(described)})
    return folder / FILE


def load_ensemble(folder: Path) -> tuple[Ensemble, dict[str, Any]]:
    """The ensemble in eval mode, and its facts. Raises CheckpointError."""
    try:
        with safe_open(folder / FILE, framework="pt") as stored:
            described = json.loads((stored.metadata() or {}).get("pixassay", "{}"))
            if described.get("format") != FORMAT:
                raise CheckpointError(f"{folder / FILE} is not of the format {FORMAT}: train again")
            ensemble = _empty(described)
            _fill(ensemble, stored, f"{folder / FILE} does not fit the tower {described['tower']}")
    except (OSError, SafetensorError) as error:
        raise CheckpointError(f"{folder / FILE} cannot be read: {error}") from error
    return ensemble.eval().requires_grad_(False), described["facts"]


@torch.no_grad()
def _fill(ensemble: Ensemble, stored: Any, fault: str) -> None:
    """Copy tensor by tensor: a large ensemble is not held twice."""
    own = ensemble.state_dict()
    missing, unexpected = sorted(own.keys() - stored.keys()), sorted(stored.keys() - own.keys())
    if missing or unexpected:
        raise CheckpointError(f"{fault}: missing {missing[:3]}, unexpected {unexpected[:3]}")
    for name, place in own.items():
        value = stored.get_tensor(name)
        if value.shape != place.shape:
            raise CheckpointError(f"{fault}: {name} has the shape {tuple(value.shape)}")
        place.copy_(value)


def _empty(described: dict[str, Any]) -> Ensemble:
    tower = empty_tower(described["tower"], described.get("tower_facts"))
    with torch.random.fork_rng(devices=[]):
        branches = [_branch(tower, **b) for b in described["branches"]]
    views = [ViewSpec.model_validate(view) for view in described["views"]]
    return Ensemble(tower, branches, views, described["reads"])


def _branch(
    tower: Tower,
    name: str,
    start: int,
    feature: Feature,
    taps: Sequence[int] = (),
    **options: Any,
) -> Branch:
    return Branch(name, tower, start, feature, tuple(taps), **options)
