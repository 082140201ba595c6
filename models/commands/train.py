"""`pixassay model train`: from a data folder to a run folder."""

import json
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from models.commands.options import Data, HeldOut

LOG_EVERY = 25


def train(
    data: Data,
    out: Annotated[Path, typer.Option(help="run folder; a run that was cut off goes on")],
    recipe: Annotated[str, typer.Option(help="recipe by name, or a TOML file")] = "small",
    hold_out: HeldOut = None,
    threads: Annotated[int, typer.Option(min=1)] = 1,
) -> None:
    """Train the detectors of a recipe; `pixassay model export` makes a bundle of them."""
    from models.run import train_run

    console = Console(stderr=True)
    with _bar(console) as bar:
        tasks: dict[str, int] = {}

        def progress(stage: str, step: int, steps: int) -> None:
            if stage not in tasks:
                tasks[stage] = int(bar.add_task(stage, total=steps))
            bar.update(tasks[stage], completed=step)  # type: ignore[arg-type]
            if not console.is_terminal and step % LOG_EVERY == 0:  # a log file gets lines, not a bar
                console.print(f"{stage}: step {step} of {steps}")

        facts = train_run(data, out, recipe, hold_out or [], threads=threads, progress=progress)
    console.print_json(json.dumps(facts))


def _bar(console: Console) -> Progress:
    return Progress(
        TextColumn("{task.description:>10}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
        console=console,
    )
