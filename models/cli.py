"""`pixassay model ...`: train, calibrate, evaluate and look at detectors.

A command imports torch where it needs it, not at its top: `model show` works in the lean install.
"""

import typer

from models.commands.calibrate import calibrate
from models.commands.evaluate import evaluate
from models.commands.show import show
from models.commands.train import train

app = typer.Typer(no_args_is_help=True)
for command in (show, train, calibrate, evaluate):
    app.command()(command)
