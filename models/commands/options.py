"""Arguments that several commands share."""

from pathlib import Path
from typing import Annotated

import typer

Data = Annotated[
    Path, typer.Option(help="folder of labelled pictures (`python -m models.synthesis make` writes one)")
]
HeldOut = Annotated[
    list[str] | None, typer.Option(help="real source or generator family to leave out; repeatable")
]
BundlePath = Annotated[Path, typer.Argument(help="bundle folder")]
SyntheticRate = Annotated[
    float, typer.Option(min=1e-4, max=0.5, help="share of real photographs that may be called synthetic")
]
SuspiciousRate = Annotated[
    float, typer.Option(min=1e-4, max=0.5, help="share that may be called suspicious or synthetic")
]
