"""`pixassay db`: the database schema and its monthly partitions."""

import sys
from datetime import UTC, datetime
from typing import Annotated

import typer

from stream import database
from stream.settings import load_settings

app = typer.Typer(no_args_is_help=True)


@app.command()
def upgrade() -> None:
    """Create or upgrade tables, views and the reader role, and this and the next month's partition.

    Safe to run at any time, also from several places at once.
    """
    url = load_settings().database_url.get_secret_value()
    for warning in database.upgrade(url):
        sys.stderr.write(f"pixassay: {warning}\n")
    sys.stdout.write(f"{database.check_schema(url)}\n")


@app.command()
def partitions(
    months: Annotated[int, typer.Option(min=0, max=120, help="Months ahead of this one.")] = 3,
    past: Annotated[int, typer.Option(min=0, max=120, help="Months before this one.")] = 0,
) -> None:
    """Make monthly partitions where they are missing; rows that came before their partition move into it."""
    today = datetime.now(UTC).date()
    made = database.partition(load_settings().database_url.get_secret_value(), today, months, past)
    sys.stdout.write(f"made {', '.join(made)}\n" if made else "nothing to make\n")
