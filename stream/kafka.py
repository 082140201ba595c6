"""Kafka as the rest of the service and the commands need it: options, topics, offsets, ranges, publishing."""

import asyncio
import logging
import ssl
from collections.abc import AsyncIterator, Awaitable, Iterable, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from typing import Any

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from aiokafka.errors import KafkaError, for_code

from stream.errors import ConfigError, Outage
from stream.settings import Settings

log = logging.getLogger("pixassay")

PART = "kafka"
_TOPIC_EXISTS = 36
_REQUEST_MS = 10_000
_READ_MS = 10_000
ANSWER_S = 10.0  # longest wait for the broker's answer before it counts as away
# How old a consumer's view of the topics may be. A broker that has just come up may not know a topic
# yet; the group then assigns none of it until the view is renewed.
METADATA_MS = 10_000


@dataclass(frozen=True, slots=True)
class Record:
    """One record as it stands in a topic."""

    partition: int
    offset: int
    key: bytes | None
    value: bytes | None


def tls_context(settings: Settings) -> ssl.SSLContext | None:
    """TLS with server verification, where the settings ask for TLS. Raises ConfigError."""
    if not settings.kafka_security.endswith("SSL"):
        return None
    try:
        return ssl.create_default_context(cafile=settings.kafka_ca_file)
    except OSError as error:
        place = f"PIXASSAY_KAFKA_CA_FILE: {settings.kafka_ca_file}"
        raise ConfigError(f"{place} is no readable PEM file of certificates ({error})") from error


def client_options(settings: Settings) -> dict[str, Any]:
    """Connection options that every aiokafka client takes. Raises ConfigError."""
    options: dict[str, Any] = {
        "bootstrap_servers": settings.kafka_bootstrap,
        "client_id": "pixassay",
        "security_protocol": settings.kafka_security,
        "ssl_context": tls_context(settings),
    }
    if settings.kafka_security.startswith("SASL"):
        if settings.kafka_username is None or settings.kafka_password is None:
            raise ConfigError(f"{settings.kafka_security} needs PIXASSAY_KAFKA_USERNAME and _PASSWORD")
        options["sasl_mechanism"] = settings.kafka_sasl_mechanism
        options["sasl_plain_username"] = settings.kafka_username
        options["sasl_plain_password"] = settings.kafka_password.get_secret_value()
    return options


@contextmanager
def kafka_outage() -> Iterator[None]:
    """Inside, a client's error becomes an Outage of Kafka."""
    try:
        yield
    except (KafkaError, TimeoutError, OSError) as error:
        raise Outage(PART, str(error) or type(error).__name__) from error


@asynccontextmanager
async def started(client: Any) -> AsyncIterator[Any]:
    """A consumer or producer, started here and stopped whatever happens. Raises Outage."""
    try:
        with kafka_outage():
            await client.start()
            yield client
    finally:
        await farewell(client.stop())


async def farewell(closing: Awaitable[Any]) -> None:
    """Close a client: best effort, for a bounded time.

    Two cancellations that meet in aiokafka's fetcher can leave its own farewell waiting for ever.
    """
    try:
        async with asyncio.timeout(ANSWER_S):
            await closing
    except (KafkaError, OSError, TimeoutError) as error:
        log.debug("a client did not leave Kafka in order: %r", error)


async def ensure_topics(settings: Settings) -> None:
    """Create our topics where they are missing. Raises Outage, or ConfigError where the broker refuses."""
    names = (settings.topic_uploads, settings.topic_review, settings.topic_labels, settings.topic_dead)
    async with _admin(settings) as admin:
        missing = sorted(set(names) - set(await admin.list_topics()))
        if not missing:
            return
        wanted = [NewTopic(name, settings.topic_partitions, settings.topic_replication) for name in missing]
        answer = await admin.create_topics(wanted)
        for name, code, *_ in answer.topic_errors:
            if code not in (0, _TOPIC_EXISTS):
                raise ConfigError(
                    f"topic {name} cannot be created ({for_code(code).__name__}): create it yourself"
                )
        async with asyncio.timeout(_READ_MS / 1000):
            while not all(map(_has_leaders, await admin.describe_topics(missing))):  # noqa: ASYNC110
                await asyncio.sleep(0.1)


def _has_leaders(topic: dict[str, Any]) -> bool:
    partitions = topic["partitions"]
    return bool(partitions) and all(item["error_code"] == 0 and item["leader"] >= 0 for item in partitions)


async def describe(settings: Settings) -> str:
    """One line for `pixassay doctor`: the broker and which of our topics are there. Raises Outage."""
    names = (settings.topic_uploads, settings.topic_review, settings.topic_labels, settings.topic_dead)
    async with _admin(settings) as admin:
        there = set(await admin.list_topics())
    missing = [name for name in names if name not in there]
    topics = (
        f"missing topics: {', '.join(missing)} (a worker creates them)" if missing else "all topics there"
    )
    return f"{settings.kafka_bootstrap} answers, {topics}"


async def end_offsets(settings: Settings, topic: str) -> dict[int, int]:
    """Partition -> the offset that its next record will get. Raises Outage, or ConfigError: no such topic."""
    partitions = await _partitions(settings, topic)
    async with _reader(settings) as consumer:
        ends = await _ends(consumer, partitions)
    return {place.partition: offset for place, offset in ends.items()}


async def beginning_offsets(settings: Settings, topic: str) -> dict[int, int]:
    """Partition -> its first offset that is still kept. Raises as `end_offsets`."""
    partitions = await _partitions(settings, topic)
    async with _reader(settings) as consumer:
        begins = await consumer.beginning_offsets(partitions)
    return {place.partition: offset for place, offset in begins.items()}


async def committed_offsets(settings: Settings, topic: str) -> dict[int, int]:
    """Partition -> the next offset that our group will read, where it has committed. Raises as `end_offsets`.

    Asked by a consumer that does not join the group: the admin client's call is not known to every broker.
    """
    partitions = await _partitions(settings, topic)
    async with _reader(settings, group_id=settings.group) as consumer:
        consumer.assign(partitions)
        async with asyncio.timeout(ANSWER_S):  # the client itself asks for ever
            found = {partition.partition: await consumer.committed(partition) for partition in partitions}
    return {partition: offset for partition, offset in found.items() if offset is not None}


async def read_range(
    settings: Settings, topic: str, partition: int, start: int, stop: int
) -> AsyncIterator[Record]:
    """The records of a partition with start <= offset < stop, in order; those that are still kept.

    Raises Outage where the broker does not deliver up to `stop` or the end of the log.
    """
    async with _reader(settings) as consumer:
        place = TopicPartition(topic, partition)
        stop = min(stop, (await _ends(consumer, [place]))[place])
        first = max(start, (await consumer.beginning_offsets([place]))[place])
        if first >= stop:
            return
        consumer.seek(place, first)
        while await consumer.position(place) < stop:
            batch = await consumer.getmany(timeout_ms=_READ_MS)
            if not batch:
                raise Outage(PART, f"{topic} partition {partition} delivers nothing below offset {stop}")
            for item in batch[place]:
                if item.offset < stop:
                    yield Record(partition, item.offset, item.key, item.value)


async def publish(
    settings: Settings, topic: str, records: Iterable[tuple[bytes | None, bytes | None]]
) -> int:
    """Send (key, value) pairs, wait until the broker has them all, and say how many. Raises Outage.

    A null value is a tombstone: a compacted topic then forgets what it holds under the key.
    """
    count = 0
    async with started(producer(settings)) as sender:
        pending: set[asyncio.Future[Any]] = set()
        for key, value in records:
            pending.add(await sender.send(topic, key=key, value=value))
            count += 1
            if len(pending) >= 1000:
                done, pending = await asyncio.wait(pending, return_when=asyncio.FIRST_COMPLETED)
                for sent in done:
                    sent.result()
        await asyncio.gather(*pending)
    return count


def producer(settings: Settings) -> AIOKafkaProducer:
    """A producer, not started, that answers once all in-sync replicas have the record.

    Not idempotent: repeats carry the same verdict_id, and not every broker offers it.
    """
    return AIOKafkaProducer(
        **client_options(settings),
        acks="all",
        linger_ms=5,
        request_timeout_ms=_REQUEST_MS,
        max_request_size=2**23,
    )


@asynccontextmanager
async def _admin(settings: Settings) -> AsyncIterator[AIOKafkaAdminClient]:
    admin = AIOKafkaAdminClient(**client_options(settings), request_timeout_ms=_REQUEST_MS)
    try:
        with kafka_outage():
            await admin.start()
            yield admin
    finally:
        await farewell(admin.close())


@asynccontextmanager
async def _reader(settings: Settings, group_id: str | None = None) -> AsyncIterator[AIOKafkaConsumer]:
    consumer = AIOKafkaConsumer(
        **client_options(settings),
        group_id=group_id,
        enable_auto_commit=False,
        auto_offset_reset="earliest",
        request_timeout_ms=_REQUEST_MS,
        fetch_max_wait_ms=100,
    )
    async with started(consumer):
        yield consumer


async def _ends(consumer: AIOKafkaConsumer, places: list[TopicPartition]) -> dict[TopicPartition, int]:
    """The end of each partition, as a fetch tells it. Leaves the consumer assigned to them, near their ends.

    Tansu answers the request for the latest offset with a place inside the last batch; the high
    watermark that comes with a fetch is right on every broker.
    """
    consumer.assign(places)
    for place, offset in (await consumer.end_offsets(places)).items():
        consumer.seek(place, offset)
    async with asyncio.timeout(_READ_MS / 1000):
        while any(consumer.highwater(place) is None for place in places):
            await consumer.getmany(timeout_ms=100)
    return {place: consumer.highwater(place) for place in places}


async def _partitions(settings: Settings, topic: str) -> list[TopicPartition]:
    """Asked of an admin client: a consumer's own view of the cluster may be older than the topic."""
    async with _admin(settings) as admin:
        # Listed first: describing a topic makes it on brokers that create topics by themselves.
        found = await admin.describe_topics([topic]) if topic in await admin.list_topics() else []
    if not found or not found[0]["partitions"]:
        raise ConfigError(f"topic {topic} does not exist; a worker creates it, or PIXASSAY_TOPIC_* is wrong")
    return [
        TopicPartition(topic, number)
        for number in sorted(item["partition"] for item in found[0]["partitions"])
    ]
