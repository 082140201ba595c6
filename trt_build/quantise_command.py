"""`pixassay engine quantise`: a bundle of 8-bit products, where it keeps what its detectors tell apart."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer
from rich.console import Console
from rich.table import Table

from models.bundle import load_bundle
from models.commands.options import Data, HeldOut, SuspiciousRate, SyntheticRate

if TYPE_CHECKING:
    from models.spec import Quantisation


def quantise(
    bundle: Annotated[Path, typer.Argument(help="bundle folder; it stays as it is")],
    data: Data,
    out: Annotated[Path, typer.Option(help="bundle folder to write")],
    precision: Annotated[
        Literal["int8", "fp8"], typer.Option(help="int8 for CPUs and GPUs, fp8 for GPUs from Ada on")
    ] = "int8",
    hold_out: HeldOut = None,
    max_auc_loss: Annotated[
        float, typer.Option(min=0, max=0.5, help="AUC that a detector, or the score, may lose")
    ] = 0.005,
    synthetic_rate: SyntheticRate = 0.01,
    suspicious_rate: SuspiciousRate = 0.1,
) -> None:
    """Make a bundle of 8-bit products, if no detector loses AUC by it, and calibrate it anew.

    Left out of the data is what the bundle was not trained on, unless --hold-out says otherwise.
    """
    from models.data import split_pictures
    from models.holdout import parse_holdout
    from models.layouts import scan
    from models.policy_fit import Rates
    from trt_build.eight_bits import KINDS
    from trt_build.quantise import quantise_bundle

    if synthetic_rate > suspicious_rate:
        raise typer.BadParameter("it includes the other", param_hint="--suspicious-rate")
    loaded = load_bundle(bundle)
    held = loaded.manifest.training.get("held_out", []) if hold_out is None else hold_out
    split = split_pictures(scan(data), holdout=parse_holdout(held))
    rates = Rates(synthetic_rate, suspicious_rate, recheck=loaded.manifest.policy.recheck)
    done = quantise_bundle(loaded, split, out, rates, max_auc_loss, KINDS[precision], told=_show)
    policy = done.bundle.manifest.policy
    report = Console(stderr=True, soft_wrap=True, highlight=False)
    made = f"{out}: bundle {done.bundle.id}, {precision}"
    report.print(f"{made}; synthetic from {policy.synthetic:.3f}", markup=False)
    if loaded.manifest.policy.disagreement is not None:
        report.print("the rule on disagreement was left out: pixassay model calibrate has it")


def _show(found: "Quantisation") -> None:
    """The gate's figures."""
    title = f"AUC on {found.pictures} pictures, mean of generators; largest drift {found.largest_drift}"
    table = Table(title=title, title_justify="left")
    for name in ("", "float", found.precision, "loss"):
        table.add_column(name, justify="right" if name else "left")
    for name, (before, after) in {**found.auc, "fused score": found.score_auc}.items():
        table.add_row(name, f"{before:.4f}", f"{after:.4f}", f"{before - after:+.4f}")
    Console().print(table)
