"""The options by which dead letters are chosen."""

from datetime import UTC, datetime
from typing import Annotated

import typer

from stream.letters import Wanted
from stream.reasons import Reason


def moment(text: str) -> datetime:
    """A time as RFC 3339 has it, or a day; UTC where no zone is stated. Raises ValueError."""
    read = datetime.fromisoformat(text)
    return read if read.tzinfo else read.replace(tzinfo=UTC)


def _time(what: str) -> object:
    return typer.Option(parser=moment, metavar="TIME", help=what)


Ids = Annotated[list[int] | None, typer.Argument(metavar="[ID]...", help="As `dead list` shows them.")]
WithReason = Annotated[Reason | None, typer.Option(help="Only with this reason.", show_choices=False)]
OfTenant = Annotated[str | None, typer.Option(help="Only of this tenant.")]
Since = Annotated[datetime | None, _time("Only those that died then or later, such as 2026-11-24T10:00Z.")]
Until = Annotated[datetime | None, _time("Only those that died before.")]
OfTopic = Annotated[str | None, typer.Option(help="Only from this topic.")]
Partition = Annotated[int | None, typer.Option(min=0, help="Only from this partition.")]
Offset = Annotated[int | None, typer.Option(min=0, help="Only from this offset.")]


def some(wanted: Wanted, everything: bool) -> None:
    """Nobody is to choose all by leaving something out."""
    if wanted.everything and not everything:
        raise typer.BadParameter("say which: ids, --reason, --tenant, --since, --partition, ... or --all")
