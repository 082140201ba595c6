"""The image lane: an aiokafka consumer that commits an offset only after the outcome is durable.

Records finish out of order; stream/offsets.py says what may be committed. That is done every
commit_interval_s, on a revoke after the partition's uploads in flight have drained (bounded by
rebalance_drain_s), and when the lane stops. A full pipeline pauses the partitions, and so does a
part that is away: memory stays bounded, the group membership stays alive.
"""

import asyncio
import logging
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import Any

from aiokafka import AIOKafkaConsumer, ConsumerRebalanceListener, TopicPartition
from aiokafka.errors import CommitFailedError, IllegalStateError, KafkaError

from stream.errors import Outage
from stream.events import parse_record
from stream.kafka import ANSWER_S, METADATA_MS, PART, client_options, farewell
from stream.offsets import OffsetTracker, Partition, Ticket
from stream.pipeline import Part, Pipeline
from stream.retry import pauses
from stream.settings import Settings
from stream.telemetry import Telemetry
from stream.types import Origin
from stream.waiting import first_of

log = logging.getLogger("pixassay")

POLL_S = 0.2  # longest wait for records, and so for noticing that we are to stop
KEEP_ALIVE_S = 1.0  # a paused consumer is polled this often, so that the client does not leave the group
WATCH_S = 2.0  # seconds between two looks at the broker
LONGEST_SPAN = 50_000  # offsets that one stuck upload may hold up before its partition is paused
MOST_RECORDS = 500  # taken from the client at a time


class Lane:
    """Feeds the pipeline from Kafka. `run` returns after `stop`, and raises nothing of Kafka's."""

    def __init__(
        self, settings: Settings, pipeline: Pipeline, telemetry: Telemetry, joined: asyncio.Event
    ) -> None:
        """`joined` is set when the group has given us our partitions, possibly none."""
        self._settings, self._pipeline, self._telemetry = settings, pipeline, telemetry
        self._tracker = OffsetTracker()
        self._leaving: set[Partition] = set()  # being revoked: no new work from these
        self._stopping = asyncio.Event()
        self._finished = asyncio.Event()  # set whenever an upload has its outcome
        self._joined = joined
        self._retry = pauses()

    async def run(self) -> None:
        """Consume until `stop`. A consumer that breaks is replaced, after a pause."""
        while not self._stopping.is_set():
            try:
                async with self._consumer() as consumer:
                    self._telemetry.back(PART, "consumer")
                    await self._consume(consumer)
            except (KafkaError, OSError) as error:
                self._telemetry.lost(Outage(PART, repr(error)), "consumer")
                await first_of(self._stopping.wait(), seconds=next(self._retry))
        self._telemetry.back(PART, "consumer")

    def stop(self) -> None:
        """Take no further records; `run` returns once what is in flight has drained and is committed."""
        self._stopping.set()

    @asynccontextmanager
    async def _consumer(self) -> AsyncIterator[AIOKafkaConsumer]:
        """A consumer in the group. At the end: drain, commit, leave, each for a bounded time."""
        consumer = AIOKafkaConsumer(**self._options())
        listener = _Listener(self, consumer)
        try:
            await consumer.start()
            consumer.subscribe([self._settings.topic_uploads], listener=listener)
            yield consumer
        finally:
            await self.release(consumer, _names(consumer.assignment()))
            await farewell(consumer.stop())

    def _options(self) -> dict[str, Any]:
        session_ms = round(self._settings.session_timeout_s * 1000)
        # The group waits for a member that is draining; a join that the group holds up is no lost connection.
        rebalance_ms = max(session_ms, round((self._settings.rebalance_drain_s + 15) * 1000))
        return {
            **client_options(self._settings),
            "group_id": self._settings.group,
            "enable_auto_commit": False,
            "auto_offset_reset": "earliest",
            "session_timeout_ms": session_ms,
            "heartbeat_interval_ms": max(100, session_ms // 6),
            "rebalance_timeout_ms": rebalance_ms,
            "request_timeout_ms": rebalance_ms + 5000,
            "max_poll_records": MOST_RECORDS,
            "metadata_max_age_ms": METADATA_MS,
        }

    async def _consume(self, consumer: AIOKafkaConsumer) -> None:
        timers = [asyncio.create_task(self._commits(consumer)), asyncio.create_task(self._watch(consumer))]
        try:
            while not self._stopping.is_set():
                await self._poll(consumer)
                for timer in timers:
                    if timer.done():
                        timer.result()  # never ends by itself: this raises what broke it
        finally:
            for timer in timers:
                timer.cancel()
            await asyncio.gather(*timers, return_exceptions=True)
            for who in ("commit", "watch"):
                self._telemetry.back(PART, who)

    async def _poll(self, consumer: AIOKafkaConsumer) -> None:
        """Take as many records as there is room for; where there is too little, wait for room."""
        room = self._pipeline.room() if self._flowing() else 0
        room = room if room >= self._pipeline.enough_room else 0
        self._pause_and_resume(consumer, room > 0)
        if room <= 0:
            self._pipeline.room_made.clear()
            if await first_of(self._pipeline.room_made.wait(), self._stopping.wait(), seconds=KEEP_ALIVE_S):
                return  # without a poll: one while paused throws away what the client has fetched ahead
        # getmany waits without end while the group re-assigns: that must not hold up a stop.
        await first_of(self._fetch_and_take(consumer, room), self._stopping.wait())

    async def _fetch_and_take(self, consumer: AIOKafkaConsumer, room: int) -> None:
        """Nothing may come between the client's answer and its records' tickets, least of all a revoke."""
        timeout_ms = round(POLL_S * 1000) if room > 0 else 0
        most = max(1, min(room, MOST_RECORDS))
        self._take(await consumer.getmany(timeout_ms=timeout_ms, max_records=most))

    def _take(self, batches: dict[TopicPartition, list[Any]]) -> None:
        for partition, records in batches.items():
            for record in records:
                self._admit((partition.topic, partition.partition), record)

    def _admit(self, partition: Partition, record: Any) -> None:
        if partition in self._leaving:
            return
        raw = record.value or b""
        contents = parse_record(raw)
        ticket = self._tracker.begin(partition, record.offset, len(contents))
        if ticket is None:
            return
        self._telemetry.records += 1
        origin, now = Origin(*partition, record.offset), datetime.now(UTC)
        for index, content in enumerate(contents):
            self._pipeline.submit(Part(content, origin, raw, index, now), lambda: self._done(ticket))

    def _done(self, ticket: Ticket) -> None:
        self._tracker.part_done(ticket)
        self._finished.set()

    def _flowing(self) -> bool:
        """Fetching more makes no sense while nothing can be stored or acknowledged."""
        return not self._telemetry.away & {PART, "database"}

    def _pause_and_resume(self, consumer: AIOKafkaConsumer, room: bool) -> None:
        paused = 0
        for partition in consumer.assignment():
            stuck = self._tracker.span((partition.topic, partition.partition)) >= LONGEST_SPAN
            if room and not stuck:
                consumer.resume(partition)
            else:
                consumer.pause(partition)
                paused += 1
        self._telemetry.paused = paused

    async def _commits(self, consumer: AIOKafkaConsumer) -> None:
        while True:
            await asyncio.sleep(self._settings.commit_interval_s)
            await self._commit(consumer, None)

    async def _commit(self, consumer: AIOKafkaConsumer, partitions: Iterable[Partition] | None) -> None:
        offsets = self._tracker.committable(partitions)
        try:
            if offsets:
                places = {TopicPartition(*partition): offset for partition, offset in offsets.items()}
                async with asyncio.timeout(ANSWER_S):
                    await consumer.commit(places)
                self._tracker.committed(offsets)
        except (CommitFailedError, IllegalStateError) as error:
            log.debug("not committed, the group has re-assigned: %s", error)
        except (KafkaError, TimeoutError) as error:
            self._telemetry.lost(Outage(PART, f"no commit: {error!r}"), "commit")
            return
        self._telemetry.back(PART, "commit")

    async def _watch(self, consumer: AIOKafkaConsumer) -> None:
        """Ask for the ends of our partitions: tells the lag, and whether the broker answers at all."""
        while True:
            await asyncio.sleep(WATCH_S)
            try:
                async with asyncio.timeout(ANSWER_S):
                    self._telemetry.lags = await self._lag(consumer)
            except IllegalStateError as error:
                log.debug("no lag, the group re-assigns: %s", error)
            except (KafkaError, TimeoutError) as error:
                self._telemetry.lost(Outage(PART, repr(error)), "watch")
                continue
            self._telemetry.back(PART, "watch")

    async def _lag(self, consumer: AIOKafkaConsumer) -> dict[Partition, int]:
        places = consumer.assignment()
        if not places:
            return {}
        ends, lag = await consumer.end_offsets(places), dict[Partition, int]()
        for place, end in ends.items():
            if place not in consumer.assignment():
                continue  # taken from us while we waited
            mark = self._tracker.watermark(_name(place))
            end = max(end, consumer.highwater(place) or 0)  # Tansu's answer may lie inside its last batch
            lag[_name(place)] = end - (await consumer.position(place) if mark is None else mark)
        return lag

    def assigned(self, partitions: Iterable[Partition]) -> None:
        """The group gave us these."""
        self._leaving.clear()
        self._tracker.assign(partitions)
        self._telemetry.assigned = frozenset(partitions)
        self._retry = pauses()
        self._joined.set()

    async def release(self, consumer: AIOKafkaConsumer, partitions: set[Partition]) -> None:
        """Before partitions go: let their uploads finish, for rebalance_drain_s at most, and commit."""
        self._leaving |= partitions
        deadline = asyncio.get_running_loop().time() + self._settings.rebalance_drain_s
        while self._tracker.in_flight(partitions):
            left = deadline - asyncio.get_running_loop().time()
            if left <= 0:
                log.warning(
                    "records still in flight after %s s will be read again", self._settings.rebalance_drain_s
                )
                break
            self._finished.clear()
            await first_of(self._finished.wait(), seconds=left)
        await self._commit(consumer, partitions)
        self._tracker.revoke(partitions)
        if self._telemetry.assigned is not None:
            self._telemetry.assigned -= partitions
        self._telemetry.lags = None  # until the next look, nobody knows what is ours and how far behind


class _Listener(ConsumerRebalanceListener):  # type: ignore[misc]
    """What aiokafka calls when the group re-assigns. It goes on with heartbeats while we drain."""

    def __init__(self, lane: Lane, consumer: AIOKafkaConsumer) -> None:
        self._lane, self._consumer = lane, consumer

    async def on_partitions_revoked(self, revoked: set[TopicPartition]) -> None:
        await self._lane.release(self._consumer, _names(revoked))

    async def on_partitions_assigned(self, assigned: set[TopicPartition]) -> None:
        self._lane.assigned(_names(assigned))


def _name(partition: TopicPartition) -> Partition:
    return partition.topic, partition.partition


def _names(partitions: Iterable[TopicPartition]) -> set[Partition]:
    return {_name(partition) for partition in partitions}
