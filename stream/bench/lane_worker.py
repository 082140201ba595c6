"""A whole worker as a contestant: it announces as many uploads as it is told and judges them.

The worker is the one that `pixassay worker` runs. It is driven from inside only to know, without asking
the database all the time, when the last outcome is durable. A line of stdin is one of

    504            as many uploads at once
    504 12.5       as many, 12.5 a second, under the tenant "paced"
    504 backlog    as many at once; "done" when they are announced, not when they are judged
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
from stream.kafka import producer, publish, started
from stream.settings import Settings, load_settings

_LOOK_S = 0.02  # each look costs the worker's core some 0.03 ms


async def main(uris: list[str]) -> None:
    """Serve."""
    settings = load_settings()
    places = itertools.cycle(uris)
    async with Worker(settings) as worker:
        await _burst(settings, worker, places, len(uris))  # warm
        say(READY)
        while line := await asyncio.to_thread(sys.stdin.readline):
            match line.split():
                case [count]:
                    await _burst(settings, worker, places, int(count))
                case [count, "backlog"]:
                    await publish(settings, settings.topic_uploads, _records(places, int(count), "backlog"))
                case [count, rate]:
                    await _paced(settings, worker, _records(places, int(count), "paced"), float(rate))
            say(DONE)


async def _burst(settings: Settings, worker: Worker, places: Iterator[str], count: int) -> None:
    wanted = worker.telemetry.outcomes + count
    await publish(settings, settings.topic_uploads, _records(places, count, "burst"))
    await _until(worker, wanted)


async def _paced(
    settings: Settings, worker: Worker, records: Iterator[tuple[bytes, bytes]], rate: float
) -> None:
    wanted, loop = worker.telemetry.outcomes, asyncio.get_running_loop()
    async with started(producer(settings)) as sender:
        began = loop.time()
        for number in itertools.count():
            await asyncio.sleep(max(0.0, began + number / rate - loop.time()))
            record = next(records, None)
            if record is None:
                break
            await sender.send(settings.topic_uploads, key=record[0], value=record[1])
            wanted += 1
        await sender.flush()
        await _until(worker, wanted)


async def _until(worker: Worker, outcomes: int) -> None:
    while worker.telemetry.outcomes < outcomes:  # noqa: ASYNC110 - nothing announces it
        await asyncio.sleep(_LOOK_S)


def _records(places: Iterator[str], count: int, tenant: str) -> Iterator[tuple[bytes, bytes]]:
    for uri in itertools.islice(places, count):
        upload = Upload(upload_id=uuid4().hex, tenant=tenant, uri=uri, uploaded_at=datetime.now(UTC))
        yield upload.upload_id.encode(), upload.to_bytes()


if __name__ == "__main__":
    asyncio.run(main(json.loads(sys.argv[1])["uris"]))
