"""The options by which dead letters are chosen."""

from collections.abc import Callable
from datetime import UTC, datetime
from functools import wraps
from inspect import Parameter, Signature, signature
from typing import Annotated, Any

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


def _filtered(
    reason: Annotated[Reason | None, typer.Option(help="Only with this reason.", show_choices=False)] = None,
    tenant: Annotated[str | None, typer.Option(help="Only of this tenant.")] = None,
    since: Annotated[
        datetime | None, _time("Only those that died then or later, such as 2026-11-24T10:00Z.")
    ] = None,
    until: Annotated[datetime | None, _time("Only those that died before.")] = None,
    topic: Annotated[str | None, typer.Option(help="Only from this topic.")] = None,
    partition: Annotated[int | None, typer.Option(min=0, help="Only from this partition.")] = None,
    offset: Annotated[int | None, typer.Option(min=0, help="Only from this offset.")] = None,
) -> Wanted:
    return Wanted((), reason, tenant, since, until, topic, partition, offset)


def filters(command: Callable[..., None]) -> Callable[..., None]:
    """A command with the options of `_filtered` where `command` takes their `wanted`; it adds ids and states.

    Typer reads options off a function's signature, so that is what is put together here.
    """
    shared = signature(_filtered).parameters
    own = signature(command).parameters

    @wraps(command)
    def run(**given: Any) -> None:
        wanted = _filtered(**{name: given.pop(name) for name in shared})
        command(wanted=wanted, **given)

    options = [one for name in own for one in (shared.values() if name == "wanted" else [own[name]])]
    named = [one.replace(kind=Parameter.KEYWORD_ONLY) for one in options]
    run.__signature__ = Signature(named)  # type: ignore[attr-defined]
    run.__annotations__ = {one.name: one.annotation for one in named}
    return run


def some(wanted: Wanted, everything: bool) -> None:
    """Nobody is to choose all by leaving something out."""
    if wanted.everything and not everything:
        raise typer.BadParameter("say which: ids, --reason, --tenant, --since, --partition, ... or --all")
