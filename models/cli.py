"""`pixassay model ...`: train, calibrate, evaluate and look at detectors.

torch is imported by the commands that need it, not here: `model show` works in the lean install.
"""

import json
import sys
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

from models.bundle import load_bundle

app = typer.Typer(no_args_is_help=True)
LOG_EVERY = 25
BUNDLED = Path(__file__).with_name("bundled") / "default"

Data = Annotated[
    Path, typer.Option(help="folder of labelled pictures (`python -m models.synthesis make` writes one)")
]
HeldOut = Annotated[
    list[str] | None, typer.Option(help="real source or generator family to leave out; repeatable")
]
BundlePath = Annotated[Path, typer.Argument(help="bundle folder")]


@app.command()
def show(bundle: BundlePath = BUNDLED, as_json: Annotated[bool, typer.Option("--json")] = False) -> None:
    """What a bundle is: detectors, views, thresholds, and what they were set on."""
    loaded = load_bundle(bundle)
    if as_json:
        sys.stdout.write(loaded.manifest.model_dump_json(by_alias=True) + "\n")
        return
    manifest = loaded.manifest
    table = Table(
        "detector",
        "view",
        "weight",
        title=f"{manifest.name} {loaded.id} on {manifest.tower}",
        title_justify="left",
    )
    for detector in manifest.detectors:
        table.add_row(detector.name, detector.view, f"{detector.weight:.2f}")
    console = Console()
    console.print(table)
    policy = manifest.policy
    console.print(
        f"policy {policy.id}: suspicious from {policy.suspicious:.3f}, synthetic from {policy.synthetic:.3f}"
    )
    console.print(f"set on: {policy.basis}")
    for name, value in manifest.metrics.items():
        console.print(f"{name}: {value}")


@app.command()
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


@app.command()
def calibrate(
    data: Data,
    bundle: BundlePath = BUNDLED,
    hold_out: HeldOut = None,
) -> None:
    """Fit the bundle's calibration, fusion and thresholds on pictures that it was not trained on."""
    from models.data import split_pictures
    from models.fit import calibrate_bundle, measure_bundle
    from models.holdout import parse_holdout
    from models.layouts import scan

    split = split_pictures(scan(data), holdout=parse_holdout(hold_out or []))
    test = set(split.test)
    reals = [p for p in (*split.validation, *split.unseen) if p.label == 0 and p not in test]
    done = calibrate_bundle(load_bundle(bundle), split.validation, reals)
    described = (
        f"{len(split.test)} test pictures whose photographs and prompts were not trained on, short side 256; "
        "their generators were trained on, so this says nothing about unseen ones"
    )
    done = measure_bundle(done, split.test, described)
    policy = done.manifest.policy
    Console(stderr=True).print(f"bundle {done.id}: synthetic from {policy.synthetic:.3f}; {policy.basis}")


@app.command()
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


def _bar(console: Console) -> Progress:
    return Progress(
        TextColumn("{task.description:>10}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
        console=console,
    )
