"""`pixassay engine ...`, and `pixassay model export`: what needs both the detectors and an exporter."""

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from models.bundle import CARD, load_bundle
from models.cli import BUNDLED
from models.cli import app as model

app = typer.Typer(no_args_is_help=True)


@app.command()
def verify(bundle: Annotated[Path, typer.Argument(help="bundle folder")] = BUNDLED) -> None:
    """Hold the graph against the golden logits of torch, as a batch and picture by picture."""
    from trt_build.verify import TOLERANCE, golden_difference

    loaded = load_bundle(bundle)
    difference = golden_difference(loaded)
    verdict = "agrees" if difference <= TOLERANCE else "does NOT agree"
    Console().print(f"{loaded.manifest.name} {loaded.id} {verdict} with torch: {difference:.1e} at most")
    if difference > TOLERANCE:
        raise typer.Exit(1)


@model.command()
def export(
    run: Annotated[Path, typer.Argument(help="run folder of `pixassay model train`")],
    out: Annotated[Path, typer.Argument(help="bundle folder to write")],
    name: Annotated[str, typer.Option(help="name of the bundle")] = "default",
    card: Annotated[Path | None, typer.Option(help="model card (Markdown) to put in")] = None,
) -> None:
    """Make a bundle of a trained run: one ONNX graph, golden logits, manifest; calibrate it next."""
    from models.checkpoints import load_ensemble
    from trt_build.pack import LICENCES, pack

    ensemble, facts = load_ensemble(run)
    out.mkdir(parents=True, exist_ok=True)
    text = card.read_text(encoding="utf-8") if card else f"# {name}\n\nTrained by `pixassay model train`.\n"
    (out / CARD).write_text(text, encoding="utf-8")
    bundle = pack(ensemble, name, facts, LICENCES.get(ensemble.tower.name, {}), out)
    Console(stderr=True).print(f"{out}: bundle {bundle.id}, not calibrated yet: pixassay model calibrate")
