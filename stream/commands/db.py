"""`pixassay db`: the database schema, its monthly partitions, retention."""

import sys
from dataclasses import asdict
from datetime import UTC, date, datetime
from typing import Annotated, Any

import typer

from stream import database
from stream.commands.asking import ask
from stream.commands.erase import erase
from stream.commands.output import json_lines, table
from stream.partitions import Partition, create_partitions, list_partitions, month_after, months_in_default
from stream.retention import Removal, cutoff, plan, remove
from stream.settings import load_settings

app = typer.Typer(no_args_is_help=True)
app.command()(erase)

_JSON = typer.Option("--json", help="JSON, for programs.")
_COLUMNS = ("partition", "start", "end", "rows", "size", "made")


@app.command()
def upgrade() -> None:
    """Create or upgrade tables, views and the roles, and this and the next month's partition.

    Safe to run at any time, also from several places at once.
    """
    url = _url()
    for warning in database.upgrade(url):
        sys.stderr.write(f"pixassay: {warning}\n")
    sys.stdout.write(f"{database.check_schema(url)}\n")


@app.command()
def partitions(
    months: Annotated[int, typer.Option(min=0, max=120, help="Months ahead of this one.")] = 3,
    past: Annotated[int, typer.Option(min=0, max=1200, help="Months before this one.")] = 0,
    only_list: Annotated[bool, typer.Option("--list", help="Make nothing, only list.")] = False,
    as_json: Annotated[bool, _JSON] = False,
) -> None:
    """Make monthly partitions where they are missing, and list all.

    Rows that came before their partition stand in verdicts_default until it is made, and then move into it.
    """
    with database.maintenance(_url()) as connection:
        made = [] if only_list else create_partitions(connection, _today(), months, past)
        with connection.begin():
            listed = list_partitions(connection)
            misplaced = months_in_default(connection)
    rows = [_row(one, one.name in made) for one in listed]
    if as_json:
        json_lines(rows)
        return
    table([{**row, "size": _size(row["bytes"])} for row in rows], _COLUMNS, empty="There are no partitions.")
    for month, count in misplaced:
        sys.stdout.write(f"verdicts_default holds {count} rows of {month:%Y-%m}\n")
    if misplaced:
        sys.stdout.write("They move where they belong once `--past` or `--months` reaches their month.\n")


@app.command()
def retain(
    months: Annotated[int, typer.Option(min=1, max=1200, help="Whole months to keep beside this one.")],
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say what would go.")] = False,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
    as_json: Annotated[bool, _JSON] = False,
) -> None:
    """Delete what is older: verdicts by month of upload, the decisions on them, dead letters.

    Workers go on writing meanwhile. Counts by day and receipts of erasures stay.
    """
    with database.maintenance(_url()) as connection:
        planned = plan(connection, cutoff(_today(), months))
        if not as_json:
            _show(planned, "would go" if dry_run else "goes")
        if dry_run or planned.empty:
            done = planned
        else:
            ask(f"Delete what is older than {planned.before} for ever?", yes)
            done = remove(connection, planned.before)
    if as_json:
        json_lines([_document(done, dry_run)])
    elif done is not planned:
        sys.stdout.write(
            f"whole months left the history in {done.left_s:.2f} s, one took {done.detach_s:.2f} s at most; "
            f"all is deleted after {done.seconds:.2f} s\n"
        )


def _show(removal: Removal, verb: str) -> None:
    if removal.empty:
        sys.stdout.write(f"nothing is older than {removal.before}\n")
        return
    for one in removal.partitions:
        left = "" if one.attached else ", detached by an earlier run"
        sys.stdout.write(f"{one.name} {verb}: about {one.rows} verdicts, {_size(one.bytes)}{left}\n")
    rest = {
        "verdicts of verdicts_default": removal.default_rows,
        "reviewers' decisions on these verdicts": removal.reviews,
        "uploads that wait for a reviewer": removal.pending,
        "dead letters": removal.dead_letters,
    }
    for what, count in rest.items():
        if count:
            sys.stdout.write(f"{count} {what} from before {removal.before}\n")
    if removal.open_dead_letters:
        sys.stdout.write(
            f"{removal.open_dead_letters} of the dead letters were neither replayed nor dropped\n"
        )


def _document(removal: Removal, dry_run: bool) -> dict[str, Any]:
    fields = asdict(removal) | {"dry_run": dry_run}
    return fields | {"partitions": [_row(one, made=False) for one in removal.partitions]}


def _row(one: Partition, made: bool) -> dict[str, Any]:
    start, end = (one.month, month_after(one.month, 1)) if one.month else (None, None)
    known = {"partition": one.name, "start": start, "end": end, "rows": one.rows, "bytes": one.bytes}
    return {**known, "attached": one.attached, "made": made}


def _size(size: int) -> str:
    return f"{size / 2**20:.1f} MiB"


def _today() -> date:
    return datetime.now(UTC).date()


def _url() -> str:
    return load_settings().database_url.get_secret_value()
