"""The audit on a real broker and a real database: it finds a gap that was made, and nothing else."""

import asyncio
from collections.abc import Iterator
from contextlib import closing

import psycopg
import pytest
from aiokafka import AIOKafkaConsumer, TopicPartition

from stream.audit import Gap, Report, Tally, Unflagged, audit, examine, parts_of
from stream.cli import main
from stream.commands.audit import NOT_CHECKED
from stream.embedded import Tansu
from stream.erasure import Subject, Tombstones, erase
from stream.errors import ConfigError
from stream.flag import review_of
from stream.kafka import Record, ensure_topics, publish
from stream.ledger import Ledger
from stream.reasons import Reason
from stream.settings import Settings, load_settings
from stream.store import Store
from stream.types import DeadLetter, Origin
from tests.harness.processes import variables
from tests.outcomes import BUNDLE, POLICY, outcome

DELETION = (
    b'{"Records":[{"eventName":"ObjectRemoved:Delete","s3":{"bucket":{"name":"b"},"object":{"key":"k"}}}]}'
)
S3_PAIR = (
    b'{"Records":[{"eventName":"ObjectCreated:Put","eventTime":"2026-01-01T00:00:00Z","s3":{"bucket":{"name":"b"},'
    b'"object":{"key":"k","eTag":"1"}}},{"eventName":"ObjectCreated:Put","s3":{}}]}'
)


@pytest.fixture
def settings(tansu: Tansu, database_url: str, unique: str) -> Settings:
    names = {f"topic_{kind}": f"{unique}.{kind}" for kind in ("uploads", "review", "labels", "dead")}
    bootstrap = tansu.variables()["PIXASSAY_KAFKA_BOOTSTRAP"]
    fields = {
        "kafka_bootstrap": bootstrap,
        "database_url": database_url,
        "group": unique,
        "topic_partitions": 1,
    }
    return load_settings(**fields, **names)


@pytest.fixture
def ledger(database_url: str) -> Iterator[Ledger]:
    with closing(Ledger(database_url)) as opened:
        yield opened


@pytest.fixture
def store(database_url: str) -> Iterator[Store]:
    with closing(Store(database_url)) as opened:
        opened.open(BUNDLE, POLICY)
        yield opened


def event(upload_id: str) -> bytes:
    return outcome(upload_id).job.upload.to_bytes()


async def acknowledge(settings: Settings, offset: int) -> None:
    """Commit for our group, as a worker does."""
    consumer = AIOKafkaConsumer(
        bootstrap_servers=settings.kafka_bootstrap, group_id=settings.group, enable_auto_commit=False
    )
    place = TopicPartition(settings.topic_uploads, 0)
    await consumer.start()
    try:
        consumer.assign([place])
        await consumer.commit({place: offset})
    finally:
        await consumer.stop()


async def fill(settings: Settings, values: list[bytes], acknowledged: int) -> None:
    await ensure_topics(settings)
    for value in values:  # one by one: their offsets are known
        await publish(settings, settings.topic_uploads, [(None, value)])
    if acknowledged:
        await acknowledge(settings, acknowledged)


def look(
    settings: Settings, ledger: Ledger, first: int = 0, last: int | None = None, *, flags: bool = False
) -> Report:
    return asyncio.run(audit(settings, ledger, settings.topic_uploads, first, last, flags=flags))


def no_tombstones(stones: Tombstones) -> None:
    """These tests have no compacted topic."""


def test_every_kind_of_outcome_is_accounted_for(settings: Settings, store: Store, ledger: Ledger) -> None:
    topic = settings.topic_uploads
    values = [event("judged"), b"no json", DELETION, S3_PAIR, event("judged"), event("late")]
    asyncio.run(fill(settings, values, acknowledged=5))
    store.write([outcome("judged")])
    store.bury([DeadLetter(Origin(topic, 0, 1), Reason.BAD_JSON, "", b"no json")])
    report = look(settings, ledger)
    lost = report.gaps
    assert [gap.offset for gap in lost] == [3, 3]  # both parts of the S3 record
    assert lost[0].tenant == "b"
    assert lost[1] == Gap(0, 3, None, None)
    upload_id = lost[0].upload_id
    assert upload_id is not None

    store.bury([DeadLetter(Origin(topic, 0, 3), Reason.INVALID_FIELD, "", S3_PAIR, index=1)])
    assert [gap.upload_id for gap in look(settings, ledger).gaps] == [upload_id]  # one part hides no other
    s3_upload = outcome(upload_id, tenant="b").job.upload
    store.bury(
        [DeadLetter(Origin(topic, 0, 3), Reason.ACCESS_DENIED, "", S3_PAIR, upload=s3_upload, index=0)]
    )
    report = look(settings, ledger)
    (tally,) = report.partitions
    assert report.ok
    assert (tally.start, tally.stop, tally.committed) == (0, 6, 5)
    assert (tally.records, tally.empty, tally.uploads) == (6, 1, 6)
    assert (tally.verdicts, tally.dead_letters, tally.in_flight) == (2, 3, 1)


def test_a_row_that_vanishes_is_a_gap(
    settings: Settings, store: Store, ledger: Ledger, database_url: str
) -> None:
    asyncio.run(fill(settings, [event("a"), event("b"), event("c")], acknowledged=3))
    store.write([outcome("a"), outcome("b"), outcome("c")])
    assert look(settings, ledger).ok
    with psycopg.connect(database_url) as connection:
        connection.execute("DELETE FROM verdicts WHERE upload_id = 'b'")
    assert look(settings, ledger).gaps == [Gap(0, 1, "default", "b")]
    assert look(settings, ledger, first=2).ok
    assert look(settings, ledger, last=0).partitions[0].records == 1
    assert look(settings, ledger, first=1, last=1).gaps == [Gap(0, 1, "default", "b")]


def test_a_dead_letter_of_another_upload_or_place_is_no_outcome(
    settings: Settings, store: Store, ledger: Ledger
) -> None:
    asyncio.run(fill(settings, [event("a")], acknowledged=1))
    topic, other = settings.topic_uploads, outcome("other").job.upload
    store.bury([DeadLetter(Origin(topic, 0, 0), Reason.ACCESS_DENIED, "", b"", upload=other)])
    store.bury(
        [DeadLetter(Origin(topic, 0, 1), Reason.ACCESS_DENIED, "", b"", upload=outcome("a").job.upload)]
    )
    store.bury([DeadLetter(Origin(f"{topic}.x", 0, 0), Reason.BAD_JSON, "", b"")])
    assert look(settings, ledger).gaps == [Gap(0, 0, "default", "a")]


def test_what_was_erased_is_not_lost(
    settings: Settings, store: Store, ledger: Ledger, database_url: str
) -> None:
    asyncio.run(fill(settings, [event("a"), event("b"), event("c"), event("d")], acknowledged=4))
    store.write([outcome("a"), outcome("c")])
    topic, buried = settings.topic_uploads, outcome("d").job.upload
    store.bury([DeadLetter(Origin(topic, 0, 3), Reason.ACCESS_DENIED, "", b"", upload=buried)])
    for upload_id in ("a", "d"):
        erase(database_url, Subject("upload", "default", upload_id), "ana", no_tombstones)
    report = look(settings, ledger, flags=True)
    assert report.gaps == [Gap(0, 1, "default", "b")]
    (tally,) = report.partitions
    assert (tally.uploads, tally.verdicts, tally.dead_letters, tally.erased) == (4, 1, 0, 2)


def test_a_flag_that_never_reached_the_review_topic_is_told(
    settings: Settings, store: Store, ledger: Ledger
) -> None:
    told, untold, clear = outcome("told"), outcome("untold"), outcome("clear", verdict="authentic", score=0.1)
    late = outcome("late")
    asyncio.run(fill(settings, [event(one.job.upload.upload_id) for one in (clear, told, untold, late)], 3))
    store.write([told, untold, clear, late])
    values = [None, b"not ours", b"[]", review_of(told).to_bytes()]
    asyncio.run(publish(settings, settings.topic_review, [(b"key", value) for value in values]))
    assert look(settings, ledger).flagged is None
    report = look(settings, ledger, flags=True)
    assert report.flagged == 2  # `late` is in flight: its message may still be on its way
    assert report.unflagged == [Unflagged(0, 2, "default", "untold", untold.verdict_id)]
    assert not report.ok
    asyncio.run(publish(settings, settings.topic_review, [(b"key", review_of(untold).to_bytes())]))
    assert look(settings, ledger, flags=True).ok


def test_a_second_row_is_told(settings: Settings, store: Store, ledger: Ledger, database_url: str) -> None:
    asyncio.run(fill(settings, [event("a")], acknowledged=1))
    store.write([outcome("a")])
    with psycopg.connect(database_url) as connection:
        connection.execute(
            "CREATE TEMP TABLE twin AS SELECT * FROM verdicts;"
            "UPDATE twin SET uploaded_at = uploaded_at - interval '1 second';"
            "INSERT INTO verdicts SELECT * FROM twin"
        )
    report = look(settings, ledger)
    assert (report.gaps, report.doubled, report.ok) == ([], [("default", "a")], False)


def test_nothing_acknowledged_is_all_in_flight(settings: Settings, ledger: Ledger) -> None:
    asyncio.run(fill(settings, [event("a"), event("b")], acknowledged=0))
    report = look(settings, ledger)
    assert report.ok
    assert report.partitions[0].in_flight == 2


def test_offsets_that_compaction_left_out_are_no_gaps(
    settings: Settings, store: Store, ledger: Ledger
) -> None:
    store.write([outcome("a"), outcome("b")])
    tally = Tally(partition=0, start=0, stop=10, committed=10)
    kept = [Record(0, 3, None, event("a")), Record(0, 8, None, event("b"))]
    assert examine(tally, settings.topic_uploads, list(parts_of(tally, kept)), ledger) == set()
    assert (tally.records, tally.verdicts, tally.gaps) == (2, 2, [])


def test_an_unknown_topic_is_told(settings: Settings, ledger: Ledger) -> None:
    with pytest.raises(ConfigError, match="does not exist"):
        look(settings, ledger)


def test_the_command_lists_every_gap_and_every_flag_that_is_missing(
    settings: Settings,
    store: Store,
    database_url: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    for name, value in variables(settings).items():
        monkeypatch.setenv(name, value)
    judged = [outcome("a"), outcome("b"), outcome("c")]
    asyncio.run(fill(settings, [event("a"), event("b"), event("c")], acknowledged=3))
    store.write(judged)
    asyncio.run(publish(settings, settings.topic_review, [(None, review_of(judged[2]).to_bytes())]))
    with psycopg.connect(database_url) as connection:
        connection.execute("DELETE FROM verdicts WHERE upload_id = 'b'")
    with pytest.raises(SystemExit) as ended:
        main(["audit", "--flags"])
    assert ended.value.code == 1
    told = capsys.readouterr().out
    assert "lost: default/b at partition 0, offset 1\n" in told
    assert f"flagged but not on the review topic: {judged[0].verdict_id} from partition 0, offset 0\n" in told
    assert told.endswith("1 lost, 0 stored twice, 1 of 2 flags not on the review topic\n")


def test_the_command_tells_lost_from_not_checked(
    settings: Settings, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for name, value in variables(settings).items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("PIXASSAY_KAFKA_BOOTSTRAP", "127.0.0.1:1")
    with pytest.raises(SystemExit) as ended:
        main(["audit"])
    assert ended.value.code == NOT_CHECKED
    assert "not checked: kafka is unavailable" in capsys.readouterr().err
