"""`pixassay model show`: what a bundle is. Needs no torch."""

import sys
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from models.bundle import BUNDLED, load_bundle
from models.commands.options import BundlePath


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
