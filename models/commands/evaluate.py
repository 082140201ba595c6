"""`pixassay model evaluate`: tables of a bundle on labelled pictures."""

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from models.bundle import BUNDLED, load_bundle
from models.commands.options import BundlePath, Data, HeldOut


def evaluate(
    data: Data,
    bundle: BundlePath = BUNDLED,
    hold_out: HeldOut = None,
    part: Annotated[str, typer.Option(help="test, unseen, validation or all")] = "test",
    out: Annotated[Path | None, typer.Option(help="folder for metrics.json and CSV tables")] = None,
    robust: Annotated[bool, typer.Option(help="re-encode all pictures in many ways too")] = False,
) -> None:
    """Tables by generator and by source of real photographs, beside what file facts alone would say."""
    from models.evaluate import ROBUSTNESS
    from models.holdout import parse_holdout
    from models.report import choose, evaluate_bundle, write
    from models.report import show as show_tables

    pictures = choose(data, part, parse_holdout(hold_out or []))  # type: ignore[arg-type]
    found = evaluate_bundle(load_bundle(bundle), pictures, grid=ROBUSTNESS if robust else None)
    show_tables(found, Console())
    if out:
        write(found, out)
