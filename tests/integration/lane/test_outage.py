"""The broker goes away and comes back: the worker waits and goes on by itself."""

import asyncio
from collections.abc import Callable

import orjson
import pytest

from stream.app import Worker
from stream.embedded import Tansu
from stream.kafka import ensure_topics
from stream.settings import Settings
from tests.fakes import FakeParts, until
from tests.integration.lane.conftest import settings_for
from tests.integration.lane.harness import announce, assert_all_committed, values
from tests.integration.lane.test_worker import label, send_labels
from tests.kafka_server import ApacheKafka


async def _through_an_outage(settings: Settings, away: Callable[[], None], back: Callable[[], None]) -> None:
    """Work before, during and after; `away` and `back` end and mend the broker."""
    await ensure_topics(settings)
    fakes = FakeParts()
    fakes.score_delay_s = 0.05
    before = [f"synthetic{number}" for number in range(300)]
    after = [f"synthetic-later{number}" for number in range(50)]
    await announce(settings, before)
    async with Worker(settings, fakes.parts()) as worker:
        await until(lambda: len(fakes.rows) > 100)
        await asyncio.to_thread(away)
        await until(lambda: "kafka" in worker.telemetry.away, seconds=60)
        await asyncio.to_thread(back)
        await until(lambda: not worker.telemetry.away, seconds=60)
        await announce(settings, after)
        await send_labels(settings, label("one").to_bytes())
        await until(lambda: len(fakes.rows) == 350 and worker.telemetry.in_flight == 0, seconds=60)
        await until(lambda: len(fakes.labels) == 1, seconds=60)
    flagged = {orjson.loads(value)["upload_id"] for value in await values(settings, settings.topic_review)}
    assert flagged == {*before, *after}
    await assert_all_committed(settings)


@pytest.mark.kafka
async def test_apache_kafka_is_restarted(fresh_apache_kafka: ApacheKafka, unique: str) -> None:
    settings = settings_for(fresh_apache_kafka.bootstrap, unique)
    await _through_an_outage(settings, fresh_apache_kafka.stop, fresh_apache_kafka.start)


async def test_tansu_hangs(fresh_tansu: Tansu, unique: str) -> None:
    settings = settings_for(fresh_tansu.bootstrap, unique)
    await _through_an_outage(settings, fresh_tansu.pause, fresh_tansu.resume)


async def test_a_worker_that_starts_before_its_broker_waits_for_it(fresh_tansu: Tansu, unique: str) -> None:
    settings, fakes = settings_for(fresh_tansu.bootstrap, unique), FakeParts()
    fresh_tansu.stop()
    worker = Worker(settings, fakes.parts())
    starting = asyncio.create_task(worker.start())
    await until(lambda: "kafka" in worker.telemetry.away)
    await asyncio.to_thread(fresh_tansu.start)
    await starting
    await announce(settings, ["clean1"])
    await until(lambda: len(fakes.rows) == 1)
    await worker.stop()
    assert worker.telemetry.away == frozenset()
