"""`pixassay review`: the review queue, and a reviewer's decision on its way to Kafka."""

import asyncio
import sys
from contextlib import closing
from datetime import UTC, datetime
from typing import Annotated, Literal
from uuid import UUID

import typer
from pydantic import ValidationError

from stream.commands.output import json_lines, table
from stream.events import Label
from stream.kafka import ensure_topics, publish
from stream.queries import History
from stream.settings import Settings, load_settings

app = typer.Typer(no_args_is_help=True)

_COLUMNS = ("verdict_id", "tenant", "upload_id", "uploader_id", "verdict", "score", "reasons", "uri")


@app.command("next")
def next_(
    limit: Annotated[int, typer.Option(min=1, max=10_000, help="Most uploads to show.")] = 20,
    tenant: Annotated[str | None, typer.Option(help="Only this tenant.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object a line.")] = False,
) -> None:
    """Flagged uploads that wait for a decision, the most suspected first."""
    with closing(History(load_settings().database_url.get_secret_value())) as history:
        rows = history.review_queue(limit, tenant)
    if as_json:
        json_lines(rows)
    else:
        table(rows, _COLUMNS, empty="Nothing waits for a decision.")


@app.command()
def label(
    verdict_id: Annotated[UUID, typer.Argument(help="As `review next` shows it.")],
    decision: Annotated[Literal["synthetic", "authentic", "unsure"], typer.Argument()],
    reviewer: Annotated[str, typer.Option(help="Who decided.")],
    note: Annotated[str | None, typer.Option(help="A remark to keep beside it.")] = None,
) -> None:
    """Record a decision: it goes to the labels topic, from where a worker stores it."""
    settings = load_settings()
    with closing(History(settings.database_url.get_secret_value())) as history:
        verdict = history.verdict(verdict_id)
    try:
        decided = Label(
            verdict_id=verdict_id,
            tenant=verdict["tenant"],
            upload_id=verdict["upload_id"],
            decision=decision,
            reviewer=reviewer,
            decided_at=datetime.now(UTC),
            note=note,
        )
    except ValidationError as error:
        fault = error.errors()[0]
        raise typer.BadParameter(f"{fault['loc'][0]}: {fault['msg']}") from error
    asyncio.run(_send(settings, decided))
    sys.stdout.write(f"{decided.tenant}/{decided.upload_id}: {decision}, sent to {settings.topic_labels}\n")


async def _send(settings: Settings, decided: Label) -> None:
    await ensure_topics(settings)
    key = f"{decided.tenant}/{decided.upload_id}".encode()
    await publish(settings, settings.topic_labels, [(key, decided.to_bytes())])
