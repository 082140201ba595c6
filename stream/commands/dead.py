"""`pixassay dead`: uploads that got no verdict, and why."""

from contextlib import closing
from typing import Annotated

import typer

from stream.commands.output import json_lines, table
from stream.queries import History
from stream.reasons import Reason
from stream.settings import load_settings

app = typer.Typer(no_args_is_help=True)

_COLUMNS = ("id", "died_at", "tenant", "upload_id", "reason", "detail", "topic", "partition", "offset")


@app.callback()
def dead() -> None:
    """Uploads that got no verdict."""


@app.command("list")
def list_(
    limit: Annotated[int, typer.Option(min=1, max=100_000, help="Most dead letters to show.")] = 50,
    reason: Annotated[Reason | None, typer.Option(help="Only with this reason.", show_choices=False)] = None,
    tenant: Annotated[str | None, typer.Option(help="Only of this tenant.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object a line.")] = False,
) -> None:
    """Dead letters, the newest first."""
    with closing(History(load_settings().database_url.get_secret_value())) as history:
        rows = history.dead_letters(limit, reason, tenant)
    if as_json:
        json_lines(rows)
    else:
        table(rows, _COLUMNS, empty="There are no dead letters.")
