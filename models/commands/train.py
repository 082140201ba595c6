"""`pixassay model train`: from a data folder to a run folder."""

import json
from collections.abc import Callable
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeRemainingColumn

from models.commands.options import Data, HeldOut
from models.recipe import NAMES, Name, Precision

if TYPE_CHECKING:  # torch
    from models.choice import Choice
    from models.run import Machine

LOG_EVERY = 25


class Device(StrEnum):
    """Where a run computes."""

    AUTO, CPU, CUDA = "auto", "cpu", "cuda"


def train(
    data: Data,
    out: Annotated[Path, typer.Option(help="run folder; a run that was cut off goes on")],
    recipe: Annotated[
        str | None,
        typer.Option(
            help="recipe by name, or a TOML file", show_default="paper on a large tower, else default"
        ),
    ] = None,
    detector: Annotated[
        list[str] | None,  # typer takes no list of literals
        typer.Option(help="train this one only; repeatable", show_default="all of the recipe"),
    ] = None,
    every: Annotated[bool, typer.Option("--all", help="train every detector that there is")] = False,
    tower: Annotated[
        str | None,
        typer.Option(
            help="lite0, statistics, clip-l14, clip-b16, clip-b32 or timm:<model>",
            show_default="the recipe's",
        ),
    ] = None,
    weights: Annotated[Path | None, typer.Option(help="file of the tower's weights", dir_okay=False)] = None,
    adapt_from: Annotated[
        int | None, typer.Option(min=0, help="first block that the detectors change")
    ] = None,
    precision: Annotated[
        Precision | None, typer.Option(help="type of products", show_default="the recipe's")
    ] = None,
    seed: Annotated[int | None, typer.Option(min=0, show_default="the recipe's")] = None,
    hold_out: HeldOut = None,
    threads: Annotated[int, typer.Option(min=1)] = 1,
    device: Annotated[Device, typer.Option(help="auto takes a CUDA device where there is one")] = Device.AUTO,
) -> None:
    """Train the detectors of a recipe; `pixassay model export` makes a bundle of them."""
    from models.choice import Choice
    from models.run import Machine

    choice = Choice(recipe, tuple(map(_named, detector or ())), every, tower, adapt_from, precision, seed)
    console = Console(stderr=True, soft_wrap=True)
    facts = _run(console, data, out, choice, weights, hold_out or [], Machine(threads, device))
    console.print_json(json.dumps(facts))
    if facts.get("noise", {}).get("noise_beats_features"):
        console.print(
            "pin_clip: the noise alone tells the classes apart better than the features (docs/training.md)"
        )


def _run(
    console: Console,
    data: Path,
    out: Path,
    choice: "Choice",
    weights: Path | None,
    hold_out: list[str],
    machine: "Machine",
) -> dict[str, Any]:
    """Train under a progress bar; one sentence and status 2 where the arguments do not fit."""
    from models.layouts import LayoutError
    from models.recipe import RecipeError
    from models.run import train_run
    from models.towers.base import TowerError
    from models.towers.weights import WeightsError

    with _bar(console) as bar:
        try:
            return train_run(
                data,
                out,
                choice,
                weights=weights,
                hold_out=hold_out,
                machine=machine,
                progress=_reporter(bar, console),
            )
        except (RecipeError, TowerError, WeightsError, LayoutError) as error:
            bar.stop()
            console.print(f"pixassay: {error}", markup=False)
            raise typer.Exit(2) from error


def _reporter(bar: Progress, console: Console) -> Callable[[str, int, int], None]:
    """A bar a stage; a log file gets lines instead."""
    tasks: dict[str, TaskID] = {}

    def progress(stage: str, step: int, steps: int) -> None:
        if stage not in tasks:
            tasks[stage] = bar.add_task(stage, total=steps)
        bar.update(tasks[stage], completed=step)
        if not console.is_terminal and step % LOG_EVERY == 0:
            console.print(f"{stage}: step {step} of {steps}")

    return progress


def _named(text: str) -> Name:
    """A detector's name of --detector."""
    found: Name | None = next((name for name in NAMES if name == text), None)
    if found is None:
        raise typer.BadParameter(f"{text!r} is none of {', '.join(NAMES)}", param_hint="--detector")
    return found


def _bar(console: Console) -> Progress:
    return Progress(
        TextColumn("{task.description:>10}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
        console=console,
    )
