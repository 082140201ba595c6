"""`pixassay what-if`: which verdicts of a period other thresholds would have changed, by tenant."""

import sys
from dataclasses import asdict
from datetime import UTC, datetime, timedelta
from typing import Annotated, Any

import typer
from pydantic import ValidationError

from stream.commands.output import json_lines, table
from stream.database import maintenance
from stream.policy import Thresholds
from stream.settings import load_settings
from stream.what_if import Change, Period, judge_again, newest_bundle

_DAYS = timedelta(days=30)
_FORMATS = ["%Y-%m-%d", "%Y-%m-%dT%H:%M:%S"]
_COLUMNS = ("tenant", "judged", "flagged_before", "flagged_after", "before", "after", "moves")


def what_if(
    suspicious: Annotated[float, typer.Option(min=0, max=1, help="Score from which it is suspicious.")],
    synthetic: Annotated[float, typer.Option(min=0, max=1, help="Score from which it is synthetic.")],
    tenant: Annotated[str | None, typer.Option(help="Only this tenant.")] = None,
    start: Annotated[
        datetime | None,
        typer.Option("--from", formats=_FORMATS, help="Uploaded from then on, UTC; 30 days before --to."),
    ] = None,
    end: Annotated[
        datetime | None, typer.Option("--to", formats=_FORMATS, help="Uploaded before then, UTC; now.")
    ] = None,
    bundle: Annotated[
        str | None, typer.Option(help="Verdicts of this bundle; of the newest verdict's.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object.")] = False,
) -> None:
    """Judge a period again with other thresholds, from what is stored; nothing is changed."""
    try:
        thresholds = Thresholds(suspicious=suspicious, synthetic=synthetic)
    except ValidationError as error:
        raise typer.BadParameter(error.errors()[0]["msg"]) from error
    until = end.replace(tzinfo=UTC) if end else datetime.now(UTC)
    since = start.replace(tzinfo=UTC) if start else until - _DAYS
    if since >= until:
        raise typer.BadParameter(f"--from {since:%Y-%m-%d} is not before --to {until:%Y-%m-%d}")
    with maintenance(load_settings().database_url.get_secret_value()) as connection:
        chosen = bundle or newest_bundle(connection)
        connection.rollback()
        period = Period(chosen, since, until, tenant)
        changes = judge_again(connection, period, thresholds)
    if as_json:
        asked = {"from": since, "to": until, "bundle": chosen, **thresholds.model_dump()}
        json_lines([{**asked, "tenants": [asdict(change) for change in changes]}])
    else:
        _show(period, changes)


def _show(period: Period, changes: list[Change]) -> None:
    rows = [_row(change) for change in changes]
    table(rows, _COLUMNS, empty=f"There are no verdicts of bundle {period.bundle} in this time.")
    for decision in ("synthetic", "authentic"):
        seen = [change.reviewed[decision] for change in changes if decision in change.reviewed]
        if seen:
            number, before, after = (sum(counts) for counts in zip(*seen, strict=True))
            sys.stdout.write(f"of {number} that reviewers found {decision}: {before} flagged before, ")
            sys.stdout.write(f"{after} after\n")
    uncertain = sum(change.uncertain for change in changes)
    if uncertain:
        sys.stdout.write(f"{uncertain} verdicts are uncertain: they hang on frames or copies not stored\n")


def _row(change: Change) -> dict[str, Any]:
    moves = ", ".join(f"{count} {move}" for move, count in sorted(change.moves.items()))
    share = {
        "before": _percent(change.flagged_before, change.judged),
        "after": _percent(change.flagged_after, change.judged),
    }
    return {**asdict(change), **share, "moves": moves or "none"}


def _percent(part: int, whole: int) -> str:
    return f"{100 * part / whole:.2f} %" if whole else "-"
