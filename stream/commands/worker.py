"""`pixassay worker` and `pixassay upload`: the service itself, and pictures to try it on."""

import asyncio
import logging
import mimetypes
import os
import signal
import sys
import threading
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated
from uuid import uuid4

import typer
from pydantic import ValidationError

from stream.app import Worker
from stream.errors import ConfigError
from stream.events import Upload
from stream.fetch import Fetcher
from stream.kafka import ensure_topics, publish
from stream.logs import set_up_logging
from stream.monitor import monitored
from stream.settings import Settings, load_settings
from stream.waiting import first_of

log = logging.getLogger("pixassay")

PROGRESS_S = 5.0
EXIT_S = 5.0
SUFFIXES = frozenset({".avif", ".bmp", ".gif", ".jpeg", ".jpg", ".png", ".tif", ".tiff", ".webp"})


def worker(
    json_logs: Annotated[bool, typer.Option("--json-logs", help="Log one JSON object a line.")] = False,
) -> None:
    """Judge uploads from Kafka until SIGTERM or Ctrl-C; what is in flight then is finished first."""
    settings = load_settings()
    set_up_logging(json_logs or settings.json_logs)
    with asyncio.Runner() as runner:
        runner.run(serve(settings))
        _end_within(EXIT_S)


def _end_within(seconds: float) -> None:
    """End with status 0, at the latest after this time: what is left to do now is worth no waiting.

    A Kafka client that was given up because the broker hung does not heed its cancellation, and the
    loop's own end would wait for it for ever.
    """
    last = threading.Timer(seconds, os._exit, (0,))
    last.daemon = True
    last.start()


async def serve(settings: Settings) -> None:
    """Run one worker until a signal. A second signal does not wait for what is in flight.

    Raises ConfigError and BundleError where it cannot start.
    """
    stop, hurry = asyncio.Event(), asyncio.Event()

    def on_signal() -> None:
        (hurry if stop.is_set() else stop).set()

    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, on_signal)
    one = Worker(settings)
    async with monitored(settings, one.telemetry):
        try:
            await first_of(stop.wait(), _work(one, settings))
        finally:
            log.info("stopping: finishing %d uploads in flight", one.telemetry.in_flight)
            await first_of(one.stop(), hurry.wait())
    log.info("stopped: %s", one.telemetry.progress())


async def _work(one: Worker, settings: Settings) -> None:
    await one.start()
    log.info("ready: %s, reading %s as group %s", one.described, settings.topic_uploads, settings.group)
    while True:
        await asyncio.sleep(PROGRESS_S)
        log.info("%s", one.telemetry.progress())


def upload(
    paths: Annotated[list[Path], typer.Argument(exists=True, help="Pictures, or folders of pictures.")],
    tenant: Annotated[str, typer.Option(help="Whose platform they belong to.")] = "default",
    uploader: Annotated[str | None, typer.Option(help="Who uploaded them.")] = None,
    to: Annotated[
        str, typer.Option(help="s3://bucket/prefix to copy them to, or `file` to leave them where they are.")
    ] = "file",
) -> None:
    """Put pictures where workers can fetch them, and announce each on the upload topic."""
    settings = load_settings()
    pictures = list(pictures_in(paths))
    if not pictures:
        raise ConfigError(f"no pictures there: files ending in {', '.join(sorted(SUFFIXES))} are taken")
    # All are in place before the first is announced: workers fetch at once.
    uploads = list(announcements(settings, pictures, tenant, uploader, to))
    count = asyncio.run(_announce(settings, uploads))
    sys.stdout.write(f"announced {count} uploads on {settings.topic_uploads}\n")


def pictures_in(paths: Iterable[Path]) -> Iterator[Path]:
    """Files as they are given; of folders all pictures in and below them, in order of their names."""
    for path in paths:
        if path.is_dir():
            inside = (item for item in sorted(path.rglob("*")) if item.suffix.lower() in SUFFIXES)
            yield from (item for item in inside if item.is_file())
        else:
            yield path


def announcements(
    settings: Settings, pictures: Iterable[Path], tenant: str, uploader: str | None, to: str
) -> Iterator[Upload]:
    """Put each picture in place and make its upload event. Each call makes new uploads, with new ids.

    Raises ConfigError where `to` or a name is wrong, and as Fetcher.put does.
    """
    if to != "file" and not to.startswith("s3://"):
        raise ConfigError(f"--to {to}: s3://bucket/prefix or `file` was expected")
    store = Fetcher(settings)
    for path in pictures:
        upload_id = f"{path.stem[:60]}-{uuid4().hex[:12]}"
        uri = path.resolve().as_uri()
        if to != "file":
            uri = f"{to.rstrip('/')}/{upload_id}{path.suffix.lower()}"
            kind = mimetypes.guess_type(path.name)[0] or "application/octet-stream"
            store.put(uri, _read(path), kind)
        try:
            yield Upload(
                upload_id=upload_id,
                tenant=tenant,
                uploader_id=uploader,
                uri=uri,
                uploaded_at=datetime.now(UTC),
            )
        except ValidationError as error:
            fault = error.errors(include_url=False)[0]
            raise ConfigError(f"{path}: {fault['loc'][0]}: {fault['msg']}") from error


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise ConfigError(f"{path} cannot be read: {error.strerror}") from error


async def _announce(settings: Settings, uploads: list[Upload]) -> int:
    await ensure_topics(settings)
    records = ((f"{item.tenant}/{item.upload_id}".encode(), item.to_bytes()) for item in uploads)
    return await publish(settings, settings.topic_uploads, records)
