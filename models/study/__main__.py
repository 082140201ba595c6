"""`python -m models.study`: make the pictures, run every cell, write the tables of docs/detectors.md.

A run that was cut off goes on with the next cell. `--check` compares with the documented tables instead.
"""

import json
from pathlib import Path
from typing import Annotated

import torch
import typer
from rich.console import Console

from models.study.page import outside, write_page
from models.study.plan import FULL
from models.study.run import run_study, write_results
from models.synthesis.base import SynthesisError

app = typer.Typer(add_completion=False)


Data = Annotated[Path, typer.Option(help="folder with caltech101/, clothing/, taef2/, ...")]
Out = Annotated[Path, typer.Option(help="scratch folder; a run that was cut off goes on")]
Raw = Annotated[Path, typer.Option(help="where raw scores and figures go")]
Page = Annotated[Path, typer.Option(help="the page whose tables are rewritten")]
Check = Annotated[bool, typer.Option(help="compare with the documented figures; write nothing there")]


@app.command()
def study(
    data: Data,
    out: Out = Path("runs/study"),
    results: Raw = Path("docs/study"),
    page: Page = Path("docs/detectors.md"),
    check: Check = False,
) -> None:
    """Leave one generator family out, for every detector, ablation, baseline and the ensemble."""
    console = Console(stderr=True)
    torch.set_num_threads(1)
    try:
        run_study(data, out, FULL, console.print)
    except SynthesisError as error:
        console.print(f"error: {error}", style="red")
        raise typer.Exit(1) from error
    if check:
        documented = json.loads((results / "results.json").read_text(encoding="utf-8"))
        found = outside(write_results(out, out / "results", FULL), documented)
        for line in found:
            console.print(line)
        console.print(f"{len(found)} figures lie outside the documented intervals")
        raise typer.Exit(1 if found else 0)
    write_page(page, write_results(out, results, FULL))


if __name__ == "__main__":
    app()
