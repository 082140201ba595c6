"""`pixassay db erase`: all that is known of one upload, or of all uploads of one uploader, is deleted."""

import asyncio
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, TextIO

import orjson
import typer

from stream import erasure
from stream.commands.asking import ask, who
from stream.erasure import Receipt, Subject, Tombstones
from stream.kafka import ensure_topics, publish
from stream.settings import Settings, load_settings


def erase(
    tenant: Annotated[str, typer.Option(help="Tenant of the upload or uploader.")],
    uploader: Annotated[str | None, typer.Option(help="All that this uploader sent in until now.")] = None,
    upload: Annotated[str | None, typer.Option(help="This one upload.")] = None,
    by: Annotated[str | None, typer.Option(help="Who has it done; your login name if left out.")] = None,
    receipt: Annotated[
        Path | None, typer.Option(help="New file for the receipt, JSON; printed if left out.")
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say what would be erased.")] = False,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
) -> None:
    """Delete verdicts, labels and dead letters, publish tombstones, and see that nothing comes back."""
    subject, settings, name = _subject(tenant, uploader, upload), load_settings(), who(by)
    url = settings.database_url.get_secret_value()
    if dry_run:
        sys.stdout.write(f"would erase {_counts(erasure.rehearse(url, subject, name))}\n")
        return
    if not yes:
        found = _counts(erasure.rehearse(url, subject, name))
        ask(f"Erase {found} of {subject.kind} {subject.id!r} of tenant {tenant!r} for ever?", yes)
    asyncio.run(ensure_topics(settings))
    with _new_file(receipt) as file:
        given = erasure.erase(url, subject, name, lambda stones: asyncio.run(_send(settings, stones)))
        sys.stderr.write(f"erased {_counts(given)}; receipt {given.id}\n")
        file.write(orjson.dumps(given.document(), option=orjson.OPT_INDENT_2).decode() + "\n")


def _subject(tenant: str, uploader: str | None, upload: str | None) -> Subject:
    if uploader and not upload:
        return Subject("uploader", tenant, uploader)
    if upload and not uploader:
        return Subject("upload", tenant, upload)
    raise typer.BadParameter("say either --uploader or --upload")


@contextmanager
def _new_file(path: Path | None) -> Iterator[TextIO]:
    """The file, made before anything is erased, and removed where that fails. Stdout for None."""
    if path is None:
        yield sys.stdout
        return
    try:
        file = path.open("x", encoding="utf-8")
    except OSError as error:
        raise typer.BadParameter(f"--receipt {path}: {error.strerror}; nothing was erased") from error
    try:
        with file:
            yield file
    except BaseException:  # Ctrl-C too: no receipt may stand of an erasure that did not end
        path.unlink()
        raise


def _counts(told: Receipt) -> str:
    return (
        f"{told.verdicts} verdicts, {told.reviews} labels and {told.dead_letters} dead letters"
        f" ({told.tombstones} tombstones)"
    )


async def _send(settings: Settings, stones: Tombstones) -> None:
    for topic, keys in ((settings.topic_review, stones.review), (settings.topic_dead, stones.dead)):
        await publish(settings, topic, [(key, None) for key in keys])
