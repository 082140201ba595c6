"""`pixassay dead`: uploads that got no verdict, and why; send them in again, or drop them."""

import asyncio
import sys
from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import replace
from typing import Annotated, Literal

import typer

from stream.commands.asking import ask, who
from stream.commands.chosen import Ids, filters, some
from stream.commands.letter import document, show_letter
from stream.commands.output import json_lines, table
from stream.kafka import ensure_topics, publish
from stream.letters import Letters, Publish, Replay, State, Wanted
from stream.queries import History
from stream.settings import Settings, load_settings

app = typer.Typer(no_args_is_help=True)

MANY = 10  # dead letters, above which a command asks first
_COLUMNS = ("id", "died_at", "state", "tenant", "upload_id", "reason", "detail", "partition", "offset")
_WORKED_ON = frozenset[State]({"open", "replayed"})

Limit = Annotated[int, typer.Option(min=1, max=1_000_000, help="Most dead letters, the oldest first.")]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Only say what would be done.")]
Yes = Annotated[bool, typer.Option("--yes", help="Do not ask.")]
Everything = Annotated[bool, typer.Option("--all", help="All that are open, whatever they are.")]


@app.callback()
def dead() -> None:
    """Uploads that got no verdict."""


@app.command("list")
@filters
def list_(
    limit: Annotated[int, typer.Option(min=1, max=100_000, help="Most dead letters to show.")] = 50,
    before: Annotated[int | None, typer.Option(help="Only below this id: the next page.")] = None,
    state: Annotated[Literal["open", "replayed", "dropped"] | None, typer.Option(help="Only these.")] = None,
    *,
    wanted: Wanted,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object a line.")] = False,
) -> None:
    """Dead letters, the newest first."""
    states = frozenset({state} if state else set[State]())
    wanted = replace(wanted, states=states)
    with closing(_history(load_settings())) as history:
        rows = history.dead_letters(limit, wanted, before)
    if as_json:
        json_lines(rows)
        return
    table(rows, _COLUMNS, empty="There are no such dead letters.")
    if len(rows) == limit:
        sys.stderr.write(f"there may be more: --before {rows[-1]['id']}\n")


@app.command()
def show(
    number: Annotated[int, typer.Argument(metavar="ID", help="As `dead list` shows it.")],
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object.")] = False,
) -> None:
    """One dead letter with its record, and what became of its upload since."""
    settings = load_settings()
    with closing(_letters(settings)) as letters, closing(_history(settings)) as history:
        row = letters.one(number)
        since = history.outcomes_since(row["tenant"], row["upload_id"], number) if row["upload_id"] else []
    if as_json:
        json_lines([document(row, since)])
    else:
        show_letter(row, since)


@app.command()
@filters
def replay(
    ids: Ids = None,
    *,
    wanted: Wanted,
    everything: Everything = False,
    again: Annotated[bool, typer.Option("--again", help="Also those that were sent in before.")] = False,
    limit: Limit = 1000,
    dry_run: DryRun = False,
    yes: Yes = False,
) -> None:
    """Send records in again. Safe to do twice: an upload that has its verdict keeps it.

    Each ends with a verdict, or with a new dead letter of its new place; the old one stays, with a note.
    """
    settings, states = load_settings(), _WORKED_ON if again else frozenset[State]({"open"})
    wanted = replace(wanted, ids=tuple(ids or ()), states=states)
    some(wanted, everything)
    with closing(_letters(settings)) as letters:
        letters.check(wanted.ids, states)
        plan = letters.replay(wanted, limit, None)
        if dry_run or not plan.sent:
            _tell(plan, "would send in again")
            raise typer.Exit(1 if plan.left_out and not plan.sent else 0)
        if plan.sent > MANY:
            ask(f"Send {plan.sent} dead letters ({_counts(plan.by_reason)}) in again?", yes)
        asyncio.run(ensure_topics(settings))
        done = letters.replay(wanted, limit, _sender(settings))
    _tell(done, "sent in again")
    if done.sent + done.left_out.total() == limit:
        sys.stderr.write(f"there may be more: --limit was {limit}\n")


@app.command()
@filters
def drop(
    why: Annotated[str, typer.Option(help="Why no more is needed; kept beside it.")],
    ids: Ids = None,
    *,
    wanted: Wanted,
    everything: Everything = False,
    by: Annotated[str | None, typer.Option(help="Who drops it; your login name if left out.")] = None,
    limit: Limit = 1000,
    dry_run: DryRun = False,
    yes: Yes = False,
) -> None:
    """Note that nothing more is to be done about them. They stay in the table, and are not sent in again."""
    if not why.strip():
        raise typer.BadParameter("--why is empty")
    wanted = replace(wanted, ids=tuple(ids or ()), states=_WORKED_ON)
    some(wanted, everything)
    with closing(_letters(load_settings())) as letters:
        letters.check(wanted.ids, _WORKED_ON)
        count = min(limit, letters.count(wanted))
        if dry_run:
            sys.stdout.write(f"would drop {count} dead letters\n")
            return
        if count > MANY:
            ask(f"Drop {count} dead letters?", yes)
        dropped = letters.drop(wanted, limit, who(by), why.strip())
    sys.stdout.write(f"dropped {dropped} dead letters\n")


def _history(settings: Settings) -> History:
    return History(settings.database_url.get_secret_value())


def _letters(settings: Settings) -> Letters:
    url = settings.database_url.get_secret_value()
    return Letters(url, labels_topic=settings.topic_labels, uploads_topic=settings.topic_uploads)


def _sender(settings: Settings) -> Publish:
    def send(topic: str, records: Sequence[tuple[bytes, bytes]]) -> None:
        asyncio.run(publish(settings, topic, records))

    return send


def _tell(done: Replay, what: str) -> None:
    sent = f" ({_counts(done.by_reason)})" if done.sent else ""
    sys.stdout.write(f"{what}: {done.sent} dead letters{sent}\n")
    for why, count in sorted(done.left_out.items()):
        sys.stdout.write(f"left out: {count}, {why}\n")


def _counts(numbers: Mapping[str, int]) -> str:
    return ", ".join(f"{count} {name}" for name, count in sorted(numbers.items()))
