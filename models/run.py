"""One training run from a data folder to a checkpoint: what `pixassay model train` does."""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from models.allocator import give_back_large_blocks
from models.bundle import sha256_of
from models.checkpoints import save_ensemble
from models.choice import Choice, check, chosen, fitted
from models.data import count, split_pictures
from models.holdout import parse_holdout
from models.layouts import scan
from models.loop import Progress
from models.recipe import Recipe, RecipeError
from models.towers.base import Tower
from models.towers.registry import pretrained_text, pretrained_tower
from models.train import Run, Trained, train


@dataclass(frozen=True, slots=True)
class Machine:
    """What a run may use of this computer."""

    threads: int = 1
    device: str = "auto"  # "cpu", "cuda"; auto: CUDA where there is a device

    def resolved(self) -> torch.device:
        """Raises RecipeError where CUDA is asked for and there is none."""
        there = torch.cuda.is_available()
        if self.device == "cuda" and not there:
            raise RecipeError("there is no CUDA device that torch can use: leave --device out, or give cpu")
        return torch.device("cuda" if there and self.device != "cpu" else "cpu")


def train_run(
    data: Path,
    out: Path,
    choice: Choice,
    *,
    weights: Path | None,
    hold_out: Sequence[str],
    machine: Machine,
    progress: Progress,
) -> dict[str, Any]:
    """Train, save <out>/detectors.safetensors, and return the facts that travel with it.

    Raises RecipeError, TowerError, WeightsError, LayoutError.
    """
    give_back_large_blocks()
    torch.set_num_threads(machine.threads)
    device = machine.resolved()
    recipe = chosen(choice)
    tower = pretrained_tower(recipe.tower, weights)
    recipe = fitted(recipe, tower) if choice.tower else recipe
    check(recipe, tower)
    split = split_pictures(scan(data), holdout=parse_holdout(hold_out))
    began = time.process_time()
    run = Run(out, data, split, recipe, progress)
    trained = train(run, tower.to(device), pretrained_text(tower, weights))
    facts = {
        **_facts(recipe, tower, trained),
        **({"weights": {"file": weights.name, "sha256": sha256_of(weights)}} if weights else {}),
        "pictures": count(split.train),
        "held_out": list(hold_out),
        "device": torch.cuda.get_device_name(device) if device.type == "cuda" else "cpu",
        "cpu_seconds": round(time.process_time() - began),
    }
    save_ensemble(trained.ensemble, out, facts)
    return facts


def _facts(recipe: Recipe, tower: Tower, trained: Trained) -> dict[str, Any]:
    text = trained.text
    found: dict[str, Any] = {
        "recipe": recipe.model_dump(mode="json"),
        "versions": {"torch": torch.__version__},
    }
    if text:
        found["text_side"] = text.encoder
        found["text_retrieval"] = {"top_1": round(text.retrieval, 3), "subjects": text.subjects}
    if trained.noise:
        found["noise"] = trained.noise.facts()
    return found
