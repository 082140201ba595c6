"""Consume, commit, pause, rebalance, drain: on Tansu and on Apache Kafka."""

import asyncio
import threading

import orjson

from stream.errors import Outage
from stream.kafka import committed_offsets, end_offsets, publish
from stream.reasons import Reason
from stream.settings import Settings
from tests.fakes import FakeParts, until
from tests.integration.lane.harness import announce, assert_all_committed, member, until_all_committed


def names(count: int, prefix: str = "clean") -> list[str]:
    return [f"{prefix}{number}" for number in range(count)]


def taken(fakes: FakeParts) -> set[str]:
    return {upload_id for _, upload_id in fakes.rows}


async def test_every_record_gets_its_outcome_and_then_its_commit(settings: Settings) -> None:
    fakes = FakeParts()
    await announce(settings, [*names(300), "bad1", "synthetic1"])
    await publish(settings, settings.topic_uploads, [(b"k", b"{not json"), (b"k", b"")])
    async with member(settings, fakes) as one:
        await until(lambda: one.telemetry.outcomes == 304)
    assert taken(fakes) == {*names(300), "bad1", "synthetic1"}
    assert [letter.reason for letter in fakes.letters] == [Reason.BAD_JSON, Reason.BAD_JSON]
    assert [item.job.upload.upload_id for item in fakes.reviews] == ["synthetic1"]
    await assert_all_committed(settings)


async def test_a_stopped_member_goes_on_where_it_was(settings: Settings) -> None:
    fakes = FakeParts()
    await announce(settings, names(50))
    async with member(settings, fakes) as one:
        await until(lambda: one.telemetry.outcomes == 50)
    await announce(settings, names(50, "later"))
    async with member(settings, fakes) as two:
        await until(lambda: two.telemetry.outcomes == 50)
        assert two.telemetry.records == 50
    assert len(taken(fakes)) == 100
    await assert_all_committed(settings)


async def test_an_s3_notification_with_several_objects_is_done_when_all_are(settings: Settings) -> None:
    fakes = FakeParts()
    items = [
        {
            "eventName": "ObjectCreated:Put",
            "eventTime": "2026-11-01T00:00:00Z",
            "s3": {"bucket": {"name": "photos"}, "object": {"key": f"a+{number}.png", "eTag": "e"}},
        }
        for number in range(3)
    ]
    record = orjson.dumps({"Records": [*items, {"eventName": "ObjectCreated:Put"}]})
    held = asyncio.Event()
    fakes.fetch_fault = lambda _: None if held.is_set() else _away()
    await publish(settings, settings.topic_uploads, [(b"k", record)])
    async with member(settings, fakes) as one:
        await until(lambda: len(fakes.letters) == 1)
        await asyncio.sleep(3 * settings.commit_interval_s)
        assert sum((await committed_offsets(settings, settings.topic_uploads)).values()) == 0
        held.set()
        await until(lambda: one.telemetry.outcomes == 4)
    assert {tenant for tenant, _ in fakes.rows} == {"photos"}
    assert fakes.letters[0].index == 3
    await assert_all_committed(settings)


def _away() -> None:
    raise Outage("object store", "away")


async def test_a_full_pipeline_pauses_and_stays_in_the_group(settings: Settings) -> None:
    small = settings.model_copy(update={"fetchers": 2, "queue_size": 2, "max_batch": 1, "max_aside": 0})
    fakes = FakeParts()
    fakes.gate = threading.Event()
    await announce(settings, names(60))
    async with member(small, fakes) as one:
        await until(lambda: one.pipeline.room() == 0)
        await asyncio.sleep(settings.session_timeout_s + 2)  # longer than a member may be silent
        assert one.telemetry.records == 4
        fakes.gate.set()
        await until(lambda: one.telemetry.outcomes == 60)
        assert one.telemetry.records == 60  # no rebalance has made it start again
    await assert_all_committed(settings)


async def test_a_database_outage_pauses_and_is_waited_out(settings: Settings) -> None:
    fakes, away = FakeParts(), True

    def fault(_: str) -> None:
        if away:
            raise Outage("database", "away")

    fakes.write_fault = fault
    await announce(settings, names(500))
    async with member(settings, fakes) as one:
        await until(lambda: "database" in one.telemetry.away)
        taken_in = one.telemetry.records
        await asyncio.sleep(1.0)
        assert one.telemetry.records == taken_in < 500
        assert one.telemetry.outcomes == 0
        assert sum((await committed_offsets(settings, settings.topic_uploads)).values()) == 0
        away = False
        await until(lambda: one.telemetry.outcomes == 500)
        assert one.telemetry.away == frozenset()
    await assert_all_committed(settings)


async def test_nothing_is_lost_when_a_second_member_comes_and_goes(settings: Settings) -> None:
    fakes = FakeParts()
    fakes.score_delay_s = 0.02
    await announce(settings, names(400))
    async with member(settings, fakes) as one:
        await until(lambda: one.telemetry.outcomes > 20)
        async with member(settings, fakes) as two:
            await announce(settings, names(400, "second"))
            await until(lambda: two.telemetry.outcomes > 20)
        await announce(settings, names(100, "third"))
        await until(lambda: len(fakes.rows) == 900, seconds=60)
        # A row is there a moment before its upload counts as done.
        await until(lambda: one.telemetry.outcomes + two.telemetry.outcomes >= 900)
        # Both drained before their partitions went, so nothing was worked on twice.
        assert one.telemetry.outcomes + two.telemetry.outcomes == 900
    assert taken(fakes) == {*names(400), *names(400, "second"), *names(100, "third")}
    await assert_all_committed(settings)


async def test_a_revoke_does_not_wait_for_ever_and_what_hung_is_read_again(settings: Settings) -> None:
    short = settings.model_copy(update={"rebalance_drain_s": 0.5})
    stuck, well = FakeParts(), FakeParts()
    stuck.fetch_fault = lambda _: _away()
    await announce(settings, names(40))
    async with member(short, stuck) as one:
        await until(lambda: "object store" in one.telemetry.away)
        async with member(short, well) as two:
            await until(lambda: two.telemetry.outcomes > 0)
        stuck.fetch_fault = lambda _: None
        await until(lambda: taken(well) | taken(stuck) == set(names(40)))
        await until_all_committed(settings)  # by `one`, which reads again what it left half done
    await assert_all_committed(settings)


async def test_stop_drains_what_is_in_flight(settings: Settings) -> None:
    fakes = FakeParts()
    fakes.score_delay_s = 0.3
    await announce(settings, names(30))
    async with member(settings, fakes) as one:
        await until(lambda: one.telemetry.in_flight == 30)
    assert one.telemetry.outcomes == 30
    await assert_all_committed(settings)


async def test_offsets_of_an_empty_topic(settings: Settings) -> None:
    assert await end_offsets(settings, settings.topic_uploads) == {0: 0, 1: 0}
    assert await committed_offsets(settings, settings.topic_uploads) == {}
