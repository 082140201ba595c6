"""A whole worker as a contestant: it announces as many uploads as it is told and judges them.

The worker is the one that `pixassay worker` runs. It is driven from inside only to know, without asking
the database all the time, when the last outcome is durable.
"""

import asyncio
import itertools
import json
import sys
from collections.abc import Iterator
from datetime import UTC, datetime
from uuid import uuid4

from stream.app import Worker
from stream.bench.contest import DONE, READY, say
from stream.events import Upload
from stream.kafka import publish
from stream.settings import Settings, load_settings

_LOOK_S = 0.005


async def main(uris: list[str]) -> None:
    """Serve. The numbers of stdin are uploads."""
    settings = load_settings()
    places = itertools.cycle(uris)
    async with Worker(settings) as worker:
        await _round(settings, worker, places, len(uris))  # warm
        say(READY)
        while line := await asyncio.to_thread(sys.stdin.readline):
            await _round(settings, worker, places, int(line))
            say(DONE)


async def _round(settings: Settings, worker: Worker, places: Iterator[str], count: int) -> None:
    before = worker.telemetry.outcomes
    records = [_record(next(places)) for _ in range(count)]
    await publish(settings, settings.topic_uploads, records)
    while worker.telemetry.outcomes < before + count:  # noqa: ASYNC110 - nothing announces it
        await asyncio.sleep(_LOOK_S)


def _record(uri: str) -> tuple[bytes, bytes]:
    upload = Upload(upload_id=uuid4().hex, uri=uri, uploaded_at=datetime.now(UTC))
    return upload.upload_id.encode(), upload.to_bytes()


if __name__ == "__main__":
    asyncio.run(main(json.loads(sys.argv[1])["uris"]))
