"""The whole worker in this process: Faust shell, lane and label agent; the steps are stand-ins."""

import asyncio
import threading
import uuid
from datetime import UTC, datetime
from pathlib import Path

import orjson
import pytest
from confluent_kafka import Consumer

from stream.app import Worker
from stream.errors import Outage
from stream.events import Dead, Label, Review
from stream.kafka import publish
from stream.reasons import Reason
from stream.settings import Settings
from tests.fakes import FakeParts, until
from tests.integration.lane.harness import announce, assert_all_committed, values


def label(upload_id: str) -> Label:
    return Label(
        verdict_id=uuid.uuid4(),
        tenant="t",
        upload_id=upload_id,
        decision="synthetic",
        reviewer="r",
        decided_at=datetime(2026, 11, 2, tzinfo=UTC),
    )


async def send_labels(settings: Settings, *raw: bytes) -> None:
    await publish(settings, settings.topic_labels, [(b"k", value) for value in raw])


async def test_flags_and_dead_letters_reach_their_topics(settings: Settings) -> None:
    fakes = FakeParts()
    await announce(settings, ["synthetic1", "clean1"])
    await publish(settings, settings.topic_uploads, [(b"k", b"\xff\xfe not json")])
    async with Worker(settings, fakes.parts()) as worker:
        await until(lambda: worker.telemetry.outcomes == 3)
    (review,) = [Review.model_validate_json(value) for value in await values(settings, settings.topic_review)]
    stored = fakes.rows["t", "synthetic1"]
    assert (review.verdict_id, review.verdict, review.score) == (stored.verdict_id, "synthetic", 0.9)
    (dead,) = [Dead.model_validate_json(value) for value in await values(settings, settings.topic_dead)]
    assert (dead.reason, dead.value_encoding, dead.topic) == ("bad_json", "base64", settings.topic_uploads)
    assert fakes.letters[0].raw == b"\xff\xfe not json"
    await assert_all_committed(settings)


async def test_a_client_that_is_not_ours_reads_the_review_topic(settings: Settings) -> None:
    await announce(settings, ["synthetic1"])
    async with Worker(settings, FakeParts().parts()) as worker:
        await until(lambda: worker.telemetry.flagged == 1)
    reader = Consumer(
        {
            "bootstrap.servers": settings.kafka_bootstrap,
            "group.id": f"{settings.group}-reader",
            "auto.offset.reset": "earliest",
            "session.timeout.ms": 6000,
        }
    )
    reader.subscribe([settings.topic_review])
    try:
        message = await asyncio.to_thread(reader.poll, 30)
        assert message is not None
        assert message.error() is None
        assert message.key() == b"t/synthetic1"
        assert orjson.loads(message.value() or b"")["schema"] == "pixassay.review/1"
    finally:
        reader.close()


async def test_a_worker_shows_its_partitions_its_lag_and_what_is_paused(settings: Settings) -> None:
    fakes = FakeParts()
    fakes.gate = threading.Event()  # fetches wait, so the pipeline fills up
    await announce(settings, [f"clean{number}" for number in range(200)])
    async with Worker(settings, fakes.parts()) as worker:
        seen = worker.telemetry
        await until(lambda: seen.lag == 200 and seen.paused == 2)
        assert seen.assigned == frozenset({(settings.topic_uploads, 0), (settings.topic_uploads, 1)})
        assert seen.depths()["fetch"] == (80, 80)
        assert seen.troubles() == []  # full is not unwell
        fakes.gate.set()
        await until(lambda: seen.lag == 0 and seen.paused == 0)
    assert seen.assigned == frozenset()
    assert seen.troubles() == ["it is stopping"]


async def test_labels_are_stored_and_bad_ones_become_dead_letters(
    settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    fakes = FakeParts()
    good = label("one")
    await send_labels(settings, good.to_bytes(), b"{", b'{"schema": "pixassay.label/1"}')
    async with Worker(settings, fakes.parts()):
        await until(lambda: len(fakes.labels) == 1 and len(fakes.letters) == 2)
    assert fakes.labels == [good]
    assert {letter.reason for letter in fakes.letters} == {Reason.BAD_JSON, Reason.INVALID_FIELD}
    assert list(tmp_path.iterdir()) == []  # noqa: ASYNC240 - a worker writes no files
    assert {letter.origin.topic for letter in fakes.letters} == {settings.topic_labels}


async def test_a_label_waits_for_the_database_and_one_that_breaks_is_buried(settings: Settings) -> None:
    fakes, away = FakeParts(), 3

    def fault(upload_id: str) -> None:
        nonlocal away
        if upload_id == "odd":
            raise ValueError("refused")
        if upload_id == "waits" and away > 0:
            away -= 1
            raise Outage("database", "away")

    fakes.write_fault = fault
    await send_labels(settings, label("waits").to_bytes(), label("odd").to_bytes(), label("last").to_bytes())
    async with Worker(settings, fakes.parts()):
        await until(lambda: len(fakes.labels) == 2 and len(fakes.letters) == 1)
    assert [item.upload_id for item in fakes.labels] == ["waits", "last"]
    assert fakes.letters[0].reason is Reason.INTERNAL_ERROR


async def test_labels_are_not_read_again_by_the_next_worker(settings: Settings) -> None:
    fakes = FakeParts()
    await send_labels(settings, label("one").to_bytes())
    async with Worker(settings, fakes.parts()):
        await until(lambda: len(fakes.labels) == 1)
    await send_labels(settings, label("two").to_bytes())
    async with Worker(settings, fakes.parts()):
        await until(lambda: len(fakes.labels) == 2)
    assert [item.upload_id for item in fakes.labels] == ["one", "two"]
