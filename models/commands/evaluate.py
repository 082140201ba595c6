"""`pixassay model evaluate`: tables, plots and a report of a bundle on labelled pictures."""

import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Literal

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TimeRemainingColumn

from models.bundle import BUNDLED, load_bundle
from models.commands.options import BundlePath, Data, HeldOut

PartOption = Literal["test", "unseen", "validation", "train", "all"]


def evaluate(
    data: Data,
    bundle: BundlePath = BUNDLED,
    hold_out: HeldOut = None,
    part: Annotated[PartOption, typer.Option(help="part of the data set that is judged")] = "test",
    out: Annotated[Path | None, typer.Option(help="folder for report.html, plots, CSV and JSON")] = None,
    robust: Annotated[bool, typer.Option(help="re-encode all pictures in many ways too")] = False,
    beside: Annotated[
        list[str] | None,
        typer.Option(help="NAME=FOLDER: a further bundle or run folder in the same tables; repeatable"),
    ] = None,
    limit: Annotated[
        int | None, typer.Option(min=1, help="at most so many of each generator and each real source")
    ] = None,
    seed: Annotated[int, typer.Option(help="of the sample and of the bootstrap")] = 0,
    short_side: Annotated[
        int, typer.Option(min=0, help="bring pictures to this short side first; 0: as they are")
    ] = 256,
    engine: Annotated[
        Literal["onnxruntime", "openvino", "openvino-bf16"],
        typer.Option(help="what runs the graph; openvino computes in float32"),
    ] = "openvino",
    threads: Annotated[int, typer.Option(min=1)] = 1,
    as_json: Annotated[bool, typer.Option("--json", help="print everything as one JSON document")] = False,
) -> None:
    """Tables by generator and by source of real photographs, beside what file facts alone would say."""
    from models.evaluation.contenders import beside as contender
    from models.evaluation.files import document, write_files
    from models.evaluation.robustness import GRID
    from models.evaluation.run import Settings, evaluate_bundle, to_score
    from models.evaluation.sample import choose, sample
    from models.evaluation.terminal import show
    from models.holdout import parse_holdout

    pictures = choose(data, part, parse_holdout(hold_out or []))
    pictures = sample(pictures, limit, seed) if limit else pictures
    settings = Settings(engine, threads, short_side or None, GRID if robust else None, seed=seed)
    others = [contender(name, folder, engine, threads) for name, folder in _named(beside or [])]
    with Progress(
        BarColumn(), MofNCompleteColumn(), TimeRemainingColumn(), console=Console(stderr=True)
    ) as bar:
        task = bar.add_task("scoring", total=to_score(pictures, settings, 1 + len(others)))
        found = evaluate_bundle(
            load_bundle(bundle), pictures, settings, beside=others, progress=lambda n: bar.advance(task, n)
        )
    if as_json:
        sys.stdout.write(json.dumps(document(found), allow_nan=False) + "\n")
    else:
        show(found, Console())
    if out:
        from models.evaluation.page import write_page  # matplotlib is in the `train` extra

        write_files(found, out)
        Console(stderr=True).print(f"report: {write_page(found, out)}", soft_wrap=True)


def _named(values: Sequence[str]) -> list[tuple[str, Path]]:
    """NAME=FOLDER of --beside."""
    parted = [value.partition("=") for value in values]
    for value, (name, _, folder) in zip(values, parted, strict=True):
        if not name or not folder:
            raise typer.BadParameter(f"{value!r} is not NAME=FOLDER", param_hint="--beside")
    names = [name for name, _, _ in parted]
    if len(set(names)) != len(names):
        raise typer.BadParameter("each name may stand once", param_hint="--beside")
    return [(name, Path(folder)) for name, _, folder in parted]
