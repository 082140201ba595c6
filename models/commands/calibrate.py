"""`pixassay model calibrate`: calibration, fusion and thresholds of a bundle."""

from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.table import Table

from models.bundle import BUNDLED, load_bundle
from models.commands.options import BundlePath, Data, HeldOut, SuspiciousRate, SyntheticRate

if TYPE_CHECKING:
    from models.policy_fit import Chosen


def calibrate(
    data: Data,
    bundle: BundlePath = BUNDLED,
    hold_out: HeldOut = None,
    synthetic_rate: SyntheticRate = 0.01,
    suspicious_rate: SuspiciousRate = 0.1,
    disagreement_rate: Annotated[
        float,
        typer.Option(
            min=0, max=0.5, help="share of these that may be so for their detectors' disagreement alone"
        ),
    ] = 0.0,
    recheck: Annotated[
        bool, typer.Option(help="score what would be flagged again, saved as JPEG: the lower score counts")
    ] = True,
    confidence: Annotated[
        float, typer.Option(min=0.5, max=0.999, help="of the bounds, and of the test of small sources")
    ] = 0.95,
) -> None:
    """Fit the bundle's calibration, fusion and thresholds on pictures that it was not trained on."""
    from models.data import split_pictures
    from models.fit import recalibrate
    from models.holdout import parse_holdout
    from models.layouts import scan
    from models.policy_fit import Rates
    from models.resave import QUALITY

    if synthetic_rate + disagreement_rate > suspicious_rate:
        raise typer.BadParameter("it includes the other two", param_hint="--suspicious-rate")
    split = split_pictures(scan(data), holdout=parse_holdout(hold_out or []))
    rates = Rates(
        synthetic_rate, suspicious_rate, disagreement_rate, confidence, QUALITY if recheck else None
    )
    done, chosen = recalibrate(load_bundle(bundle), split, rates)
    Console().print(_table(chosen, confidence))
    policy = done.manifest.policy
    Console(stderr=True).print(f"bundle {done.id}: synthetic from {policy.synthetic:.3f}; {policy.basis}")


def _table(chosen: "Chosen", confidence: float) -> Table:
    """What is flagged of each source's reals, of those that the thresholds were set on."""
    table = Table(title="Real photographs that set the thresholds", title_justify="left")
    bound = f"at most ({confidence:.0%})"
    for name in ("source", "photographs", "pictures", "synthetic", bound, "flagged", bound):
        table.add_column(name, justify="left" if name == "source" else "right")
    for row in chosen.rows:
        counts = (row.photographs, row.pictures, row.synthetic, f"{row.synthetic_at_most:.3f}", row.flagged)
        table.add_row(row.source, *map(str, counts), f"{row.flagged_at_most:.3f}")
    return table
