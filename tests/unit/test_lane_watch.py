"""What the lane does beside its records: an end that meets an answer, partitions that go while it asks."""

import asyncio
from typing import cast

import pytest
from aiokafka import AIOKafkaConsumer, TopicPartition

from stream import lane as lane_module
from stream.lane import Lane
from stream.pipeline import Pipeline
from stream.settings import Settings
from stream.telemetry import Telemetry

ENDS = {TopicPartition("uploads", number): 10 for number in range(2)}


class Consumer:
    """Stands in where the moment counts: `lose` says when the group takes the second partition."""

    def __init__(self) -> None:
        self.held, self.asked, self.answer = set(ENDS), asyncio.Event(), asyncio.Event()

    def assignment(self) -> set[TopicPartition]:
        return self.held

    def lose(self) -> None:
        self.held = {place for place in ENDS if place.partition == 0}

    async def end_offsets(self, places: set[TopicPartition]) -> dict[TopicPartition, int]:
        self.asked.set()
        await self.answer.wait()
        return {place: ENDS[place] for place in places}

    def highwater(self, place: TopicPartition) -> int:
        assert place in self.held, "Partition is not assigned"  # as aiokafka does
        return ENDS[place]

    async def position(self, place: TopicPartition) -> int:
        return 4


def watched(consumer: Consumer) -> tuple[Telemetry, asyncio.Task[None]]:
    """A lane that asks `consumer` without pause."""
    telemetry = Telemetry()
    settings = Settings(_env_file=None)  # type: ignore[call-arg]
    lane = Lane(settings, cast("Pipeline", None), telemetry, asyncio.Event())
    return telemetry, asyncio.create_task(lane._watch(cast("AIOKafkaConsumer", consumer)))


@pytest.fixture(autouse=True)
def no_pause(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lane_module, "WATCH_S", 0.001)


async def test_an_end_that_meets_the_answer_is_not_lost() -> None:
    consumer = Consumer()
    _, watch = watched(consumer)
    await consumer.asked.wait()
    consumer.answer.set()
    watch.cancel()
    done, _ = await asyncio.wait([watch], timeout=5)
    assert done


async def test_a_partition_that_went_meanwhile_is_left_out() -> None:
    consumer = Consumer()
    telemetry, watch = watched(consumer)
    await consumer.asked.wait()
    consumer.lose()
    consumer.answer.set()
    async with asyncio.timeout(10):
        while not telemetry.lags and not watch.done():  # noqa: ASYNC110 - nobody announces it
            await asyncio.sleep(0.005)
    watch.cancel()
    await asyncio.gather(watch, return_exceptions=True)
    assert watch.cancelled()
    assert telemetry.lags == {("uploads", 0): 6}
