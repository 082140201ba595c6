"""`pixassay audit`: proof that every acknowledged record has an outcome."""

import asyncio
import sys
from contextlib import closing
from dataclasses import asdict
from typing import Annotated

import typer

from stream import audit as auditing
from stream.commands.output import json_lines, table
from stream.errors import Outage
from stream.ledger import Ledger
from stream.settings import load_settings

NOT_CHECKED = 3
_SHOWN = 50  # gaps that a person is shown
_COLUMNS = (
    *("partition", "start", "stop", "committed", "records", "empty", "uploads"),
    *("verdicts", "dead_letters", "erased", "in_flight", "gaps"),
)


def audit(
    topic: Annotated[
        str | None, typer.Option(help="Topic of uploads; that of the settings if left out.")
    ] = None,
    first: Annotated[int, typer.Option("--from", min=0, help="First offset of every partition.")] = 0,
    last: Annotated[
        int | None, typer.Option("--to", min=0, help="Last offset of every partition; the end if left out.")
    ] = None,
    flags: Annotated[
        bool, typer.Option("--flags", help="Look for every flagged verdict on the review topic, too.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object.")] = False,
) -> None:
    """Check that every acknowledged upload has a verdict or a dead letter. Exit status 1 where not, 3 where
    a service is away, so that it could not be checked.

    It only reads, with the rights of the reader role, and may run beside workers.
    """
    settings = load_settings()
    chosen = topic or settings.topic_uploads
    with closing(Ledger(settings.database_url.get_secret_value())) as ledger:
        try:
            report = asyncio.run(auditing.audit(settings, ledger, chosen, first, last, flags=flags))
        except Outage as error:
            sys.stderr.write(f"pixassay: not checked: {error}\n")
            raise typer.Exit(NOT_CHECKED) from error
    if as_json:
        json_lines([{**asdict(report), "ok": report.ok}])
    else:
        _show(report)
    if not report.ok:
        raise typer.Exit(1)


def _show(report: auditing.Report) -> None:
    rows = [{**asdict(tally), "gaps": len(tally.gaps)} for tally in report.partitions]
    table(rows, _COLUMNS, empty="The topic has no partitions.")
    for gap in report.gaps[:_SHOWN]:
        what = f"{gap.tenant}/{gap.upload_id}" if gap.upload_id else "an unreadable record"
        sys.stdout.write(f"lost: {what} at partition {gap.partition}, offset {gap.offset}\n")
    for tenant, upload_id in report.doubled[:_SHOWN]:
        sys.stdout.write(f"stored twice: {tenant}/{upload_id}\n")
    for flag in report.unflagged[:_SHOWN]:
        place = f"from partition {flag.partition}, offset {flag.offset}"
        sys.stdout.write(f"flagged but not on the review topic: {flag.verdict_id} {place}\n")
    counts = f"{len(report.gaps)} lost, {len(report.doubled)} stored twice"
    if report.flagged is not None:
        counts += f", {len(report.unflagged)} of {report.flagged} flags not on the review topic"
    sys.stdout.write(f"{report.topic}, group {report.group}: {counts}\n")
