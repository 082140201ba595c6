"""One resumable optimisation loop for every stage: seeded, with checkpoints and a log of all figures."""

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from models.batches import CHUNK, Seen, Stream
from models.logbook import Logbook
from models.recipe import Precision, Stage

Losses = dict[str, Tensor]
Progress = Callable[[str, int, int], None]  # stage, step, steps
Groups = Sequence[dict[str, Any]]  # of an optimiser: "params" with rates of their own
PARTS = ("module", "optimiser", "schedule")
WARM_UP = 20  # steps of linear warm-up


def optimise(
    module: nn.Module,
    losses: Callable[[Seen], Losses],
    stream: Stream,
    stage: Stage,
    folder: Path,
    *,
    groups: Groups | None = None,
    precision: Precision = "fp32",
    after_step: Callable[[int], dict[str, float]] = lambda step: {},
    progress: Progress = lambda name, step, steps: None,
) -> None:
    """Minimise `losses(batch)["total"]` over the trainable parameters of `module` for `stage.steps` steps.

    `after_step` may change the module and returns further figures for the log. State goes to
    <folder>/<stage>.state; where one lies there already, the run continues behind it. `groups` are the
    trainable parameters in groups, where some have rates of their own.
    """
    parameters = [parameter for parameter in module.parameters() if parameter.requires_grad]
    device = parameters[0].device
    optimiser = torch.optim.AdamW(groups or parameters, lr=stage.lr, weight_decay=stage.weight_decay)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimiser, lambda step: _rate(step, stage))
    state = folder / f"{stream.stage}.state"
    step = _resume(state, module, optimiser, schedule)
    batches: Iterator[Seen] = stream.since(step)
    with Logbook(folder, stream.stage, step) as log:
        while step < stage.steps:
            torch.manual_seed(_seed(stream.seed, step))
            seen = next(batches).to(device)
            with torch.autocast(device.type, torch.bfloat16, enabled=precision == "bf16"):
                parts = losses(seen)
            optimiser.zero_grad(set_to_none=True)
            torch.autograd.backward(parts["total"])
            if stage.clip:
                nn.utils.clip_grad_norm_(parameters, stage.clip)
            optimiser.step()
            schedule.step()
            step += 1
            more = after_step(step)
            log.add(step, {**{name: float(value.detach()) for name, value in parts.items()}, **more})
            progress(stream.stage, step, stage.steps)
            if step % (4 * CHUNK) == 0 or step == stage.steps:
                log.flush()
                _save(state, module, optimiser, schedule, step)


def _rate(step: int, stage: Stage) -> float:
    """1 throughout, or a linear warm-up, then a cosine to a twentieth."""
    if stage.schedule == "constant":
        return 1.0
    warm = min(1.0, (step + 1) / WARM_UP)
    cosine = 0.5 * (1 + torch.cos(torch.tensor(torch.pi * step / max(1, stage.steps))).item())
    return warm * (0.05 + 0.95 * cosine)


def _seed(seed: int, step: int) -> int:
    return (seed * 1_000_003 + step) % 2**31


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
