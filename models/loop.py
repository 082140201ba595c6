"""One resumable optimisation loop for every stage: seeded, one thread, checkpoints, a CSV of losses."""

import csv
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import torch
from torch import Tensor, nn

from models.batches import CHUNK, Seen, Stream
from models.recipe import Stage

Losses = dict[str, Tensor]
Progress = Callable[[str, int, int], None]  # stage, step, steps
PARTS = ("module", "optimiser", "schedule")
WARM_UP = 20  # steps of linear warm-up


def optimise(
    module: nn.Module,
    losses: Callable[[Seen], Losses],
    stream: Stream,
    stage: Stage,
    folder: Path,
    *,
    after_step: Callable[[int], dict[str, float]] = lambda step: {},
    progress: Progress = lambda name, step, steps: None,
) -> None:
    """Minimise `losses(batch)["total"]` over the trainable parameters of `module` for `stage.steps` steps.

    `after_step` may change the module and returns further figures for the log. State goes to
    <folder>/<stage>.state; where one lies there already, the run continues behind it.
    """
    parameters = [parameter for parameter in module.parameters() if parameter.requires_grad]
    optimiser = torch.optim.AdamW(parameters, lr=stage.lr, weight_decay=stage.weight_decay)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimiser, lambda step: _rate(step, stage.steps))
    state = folder / f"{stream.stage}.state"
    step = _resume(state, module, optimiser, schedule)
    batches: Iterator[Seen] = stream.since(step)
    with (folder / f"{stream.stage}.csv").open("a", newline="", encoding="utf-8") as log:
        while step < stage.steps:
            torch.manual_seed(_seed(stream.seed, step))
            parts = losses(next(batches))
            optimiser.zero_grad(set_to_none=True)
            torch.autograd.backward(parts["total"])
            nn.utils.clip_grad_norm_(parameters, 5.0)
            optimiser.step()
            schedule.step()
            step += 1
            more = after_step(step)
            csv.writer(log).writerow(_row(step, parts, more))
            progress(stream.stage, step, stage.steps)
            if step % (4 * CHUNK) == 0 or step == stage.steps:
                _save(state, module, optimiser, schedule, step)
                log.flush()


def _rate(step: int, steps: int) -> float:
    """Linear warm-up, then a cosine to a twentieth."""
    warm = min(1.0, (step + 1) / WARM_UP)
    cosine = 0.5 * (1 + torch.cos(torch.tensor(torch.pi * step / max(1, steps))).item())
    return warm * (0.05 + 0.95 * cosine)


def _seed(seed: int, step: int) -> int:
    return (seed * 1_000_003 + step) % 2**31


def _row(step: int, parts: Losses, more: dict[str, float]) -> Sequence[str]:
    named = {**{name: float(value.detach()) for name, value in parts.items()}, **more}
    return [str(step), *(f"{name}={value:.5f}" for name, value in named.items())]


def _save(
    file: Path,
    module: nn.Module,
    optimiser: torch.optim.Optimizer,
    schedule: torch.optim.lr_scheduler.LRScheduler,
    step: int,
) -> None:
    """Whole or not at all: written beside and moved over."""
    partial = file.with_suffix(".partial")
    states = (module.state_dict(), optimiser.state_dict(), schedule.state_dict())
    torch.save({"step": step, **dict(zip(PARTS, states, strict=True))}, partial)
    partial.replace(file)


def _resume(
    file: Path,
    module: nn.Module,
    optimiser: torch.optim.Optimizer,
    schedule: torch.optim.lr_scheduler.LRScheduler,
) -> int:
    if not file.exists():
        return 0
    stored = torch.load(file, map_location="cpu", weights_only=True)
    module.load_state_dict(stored["module"])
    optimiser.load_state_dict(stored["optimiser"])
    schedule.load_state_dict(stored["schedule"])
    return int(stored["step"])
