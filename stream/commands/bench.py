"""`pixassay bench`: how close the lane comes to what this machine can do, and what its parts gain."""

import json
import sys
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from stream.bench.random_vit import RandomVit
from stream.bench.report import full, measure, measure_random
from stream.bench.report import quick as quick_extent


def bench(
    quick: Annotated[bool, typer.Option("--quick", help="The core of it, in under 5 minutes.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object.")] = False,
    rounds: Annotated[
        int | None, typer.Option(min=1, max=50, help="Rounds of lane, limit and naive loop; 2 or 5.")
    ] = None,
    page: Annotated[
        Path | None,
        typer.Option(help="Write table and plot between the markers of this file, as in docs/benchmarks.md."),
    ] = None,
    ensemble: Annotated[
        RandomVit | None,
        typer.Option(
            help="Measure the lane alone, with three detectors on a CLIP tower of random weights in place of "
            "the bundle of the settings."
        ),
    ] = None,
) -> None:
    """Measure the lane against its limit and against a naive loop; decode; the shared prefix.

    Broker, object store and database are started here, on the same cores, and removed at the end.
    """
    screen, turns = Console(stderr=True), rounds or (2 if quick else 5)

    def say(line: str) -> None:
        screen.print(f"{line} ...")

    if ensemble is not None:
        report = measure_random(ensemble, ensemble.sizes(turns, quick), say)
    else:
        report = measure(quick_extent(turns) if quick else full(turns), say)
    if as_json:
        sys.stdout.write(json.dumps(report, indent=2) + "\n")
    else:
        Console(soft_wrap=True).print_json(data=report)
    if page is not None:
        from stream.bench.page import write_page, write_random  # matplotlib is in the `train` extra

        if ensemble is not None:
            write_random(page, ensemble, report)
        else:
            write_page(page, report)
