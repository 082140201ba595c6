"""One member of the group: a real lane on a real broker, with stand-ins for the steps behind it."""

import asyncio
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager

from stream.kafka import committed_offsets, end_offsets, publish, read_range
from stream.lane import Lane
from stream.pipeline import Pipeline
from stream.settings import Settings
from stream.telemetry import Telemetry
from tests.fakes import FakeParts, upload


class Member:
    """A running lane. Several members may share one FakeParts, as workers share a database."""

    def __init__(self, settings: Settings, fakes: FakeParts) -> None:
        self.telemetry, self.joined = Telemetry(), asyncio.Event()
        self.pipeline = Pipeline(fakes.parts(), fakes, settings, self.telemetry)
        self.lane = Lane(settings, self.pipeline, self.telemetry, self.joined)
        self.task = asyncio.create_task(self.lane.run())

    async def stop(self) -> None:
        """As SIGTERM does: drain, commit, leave."""
        self.lane.stop()
        await self.task
        await self.pipeline.close()


@asynccontextmanager
async def member(settings: Settings, fakes: FakeParts) -> AsyncIterator[Member]:
    """A member that has joined the group."""
    one = Member(settings, fakes)
    try:
        async with asyncio.timeout(30):
            await one.joined.wait()
        yield one
    finally:
        await one.stop()


async def announce(settings: Settings, names: Iterable[str]) -> None:
    """Publish upload events; they spread over the partitions by their key."""
    records = ((name.encode(), upload(name).to_bytes()) for name in names)
    await publish(settings, settings.topic_uploads, records)


async def until_all_committed(settings: Settings, seconds: float = 30.0) -> None:
    """Wait until the group has committed the ends of all partitions. Raises TimeoutError."""
    async with asyncio.timeout(seconds):
        while True:
            ends = await end_offsets(settings, settings.topic_uploads)
            committed = await committed_offsets(settings, settings.topic_uploads)
            if {**dict.fromkeys(ends, 0), **committed} == ends:
                return
            await asyncio.sleep(0.2)


async def assert_all_committed(settings: Settings) -> None:
    """The group has committed exactly the ends of the partitions that hold records."""
    ends = await end_offsets(settings, settings.topic_uploads)
    committed = await committed_offsets(settings, settings.topic_uploads)
    assert {**dict.fromkeys(ends, 0), **committed} == ends


async def values(settings: Settings, topic: str) -> list[bytes]:
    """All values of a topic."""
    ends = await end_offsets(settings, topic)
    found: list[bytes] = []
    for number, end in ends.items():
        found += [record.value or b"" async for record in read_range(settings, topic, number, 0, end)]
    return found
