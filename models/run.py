"""One training run from a data folder to a checkpoint: what `pixassay model train` does."""

import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from models.checkpoints import save_ensemble
from models.data import count, split_pictures
from models.holdout import parse_holdout
from models.layouts import scan
from models.loop import Progress
from models.recipe import read_recipe
from models.train import Run, train


def train_run(
    data: Path, out: Path, recipe: str, hold_out: Sequence[str], *, threads: int, progress: Progress
) -> dict[str, Any]:
    """Train, save <out>/detectors.safetensors, and return the facts that travel with it."""
    torch.set_num_threads(threads)
    chosen = read_recipe(recipe)
    split = split_pictures(scan(data), holdout=parse_holdout(hold_out))
    began = time.process_time()
    trained = train(Run(out, data, split, chosen, progress))
    facts = {
        "recipe": chosen.model_dump(mode="json"),
        "pictures": count(split.train),
        "held_out": list(hold_out),
        "text_retrieval": {"top_1": round(trained.text.retrieval, 3), "subjects": trained.text.subjects},
        "versions": {"torch": torch.__version__},
        "cpu_seconds": round(time.process_time() - began),
    }
    save_ensemble(trained.ensemble, out, facts)
    return facts
