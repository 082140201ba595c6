"""`pixassay bench`: how close the lane comes to what this machine can do, and what its parts gain."""

import json
import sys
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from stream.bench.report import full, measure
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
) -> None:
    """Measure the lane against its limit and against a naive loop; decode; the shared prefix.

    Broker, object store and database are started here, on the same cores, and removed at the end.
    """
    screen = Console(stderr=True)
    extent = quick_extent(rounds or 2) if quick else full(rounds or 5)
    report = measure(extent, lambda line: screen.print(f"{line} ..."))
    if as_json:
        sys.stdout.write(json.dumps(report, indent=2) + "\n")
    else:
        Console(soft_wrap=True).print_json(data=report)
    if page is not None:
        from stream.bench.page import write_page  # matplotlib is in the `train` extra

        write_page(page, report)
