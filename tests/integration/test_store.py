"""The store on a real Postgres: once is once, what is returned is what stands there, poison stays alone."""

import threading
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import numpy as np
import psycopg
import pytest
from psycopg.conninfo import make_conninfo

from stream.database import maintenance, upgrade
from stream.embedded import Postgres
from stream.errors import ConfigError, Outage, Undeliverable
from stream.events import Label
from stream.partitions import create_partitions
from stream.reasons import Reason
from stream.store import Store
from stream.types import DeadLetter, Origin, Outcome, PictureFacts
from tests.outcomes import BUNDLE, NOW, POLICY, outcome


@pytest.fixture
def store(database_url: str) -> Iterator[Store]:
    opened = Store(database_url)
    opened.open(BUNDLE, POLICY)
    yield opened
    opened.close()


def ask(url: str, query: str) -> list[tuple[Any, ...]]:
    with psycopg.connect(url) as connection:
        cursor = connection.execute(query.encode())
        return cursor.fetchall() if cursor.description else []


def test_a_row_holds_everything(store: Store, database_url: str) -> None:
    told = outcome("cat", 7, logits={"pin_clip": 0.1, "dgs_net": None, "masm": -3.0, "probe": 0.2})
    assert store.write([told]) == [told]
    rows = ask(
        database_url,
        "SELECT verdict_id, verdict, score, pin_clip, dgs_net, masm, extra, reasons, bundle, policy, topic,"
        ' partition, "offset", latency_ms, format, width, height, frames, views_version, uploader_id'
        " FROM verdicts",
    )
    assert rows == [
        (
            *(UUID(told.verdict_id), "synthetic", 0.9, 0.1, None, -3.0, {"probe": 0.2}, []),
            *(BUNDLE.id, POLICY.id, "image.uploads", 0, 7, 42, "JPEG", 640, 480, 1, 1, "u-1"),
        )
    ]
    assert ask(database_url, "SELECT id, name, manifest->>'schema' FROM bundles") == [
        (BUNDLE.id, "by-hand", "pixassay.bundle/1")
    ]
    assert ask(database_url, "SELECT id, document->>'synthetic' FROM policies") == [(POLICY.id, "0.75")]


def test_a_picture_without_scores_is_stored_with_nulls(store: Store, database_url: str) -> None:
    nothing = {"pin_clip": None, "dgs_net": None, "masm": None}
    gone = outcome("gone", verdict="unable_to_evaluate", score=None, logits=nothing, facts=None)
    assert store.write([replace(gone, sha256=None)]) == [replace(gone, sha256=None)]
    assert ask(
        database_url, "SELECT num_nulls(score, pin_clip, extra, sha256, format, width) FROM verdicts"
    ) == [(6,)]


def test_a_replay_returns_the_earlier_row_at_its_own_place(store: Store, database_url: str) -> None:
    third, tenth = float(np.float32(1 / 3)), float(np.float32(0.1))
    exact = {"pin_clip": tenth, "dgs_net": -0.125, "masm": None, "imported": third}
    first = outcome("cat", 1, logits=exact, reasons=(Reason.ABOVE_SYNTHETIC, Reason.ANIMATED))
    store.write([first])
    again = outcome("cat", 9, logits=dict.fromkeys(exact, 0.0), verdict="authentic", score=0.1, latency_ms=7)
    again = replace(again, decided_at=NOW + timedelta(hours=1), facts=None)
    (stored,) = store.write([again])
    assert isinstance(stored, Outcome)
    assert stored == replace(first, job=replace(first.job, origin=again.job.origin))
    assert ask(database_url, "SELECT count(*) FROM verdicts") == [(1,)]


def test_the_same_upload_with_another_time_makes_no_second_row(store: Store, database_url: str) -> None:
    first = outcome("cat")
    store.write([first])
    (stored,) = store.write([outcome("cat", uploaded_at=NOW - timedelta(days=70))])
    assert isinstance(stored, Outcome)
    assert stored.job.upload.uploaded_at == first.job.upload.uploaded_at
    assert ask(database_url, "SELECT count(*) FROM verdicts") == [(1,)]


def test_every_month_is_looked_into_for_earlier_rows(store: Store, database_url: str) -> None:
    """A batch of new uploads and of old ones that come again, each with another month."""
    with maintenance(database_url) as connection:
        create_partitions(connection, NOW.date(), months=1, past=3)
    first = [outcome(f"o-{n}", uploaded_at=NOW - timedelta(days=31 * n)) for n in range(4)]
    assert store.write(first) == first
    moved = [outcome(f"o-{n}", uploaded_at=NOW - timedelta(days=31 * (3 - n)), score=0.8) for n in range(4)]
    new = [outcome(f"new-{n}") for n in range(4)]
    assert store.write([*moved, *new]) == [*first, *new]
    assert ask(database_url, "SELECT count(*) FROM verdicts") == [(8,)]


def test_an_upload_twice_in_a_batch_is_one_row_and_two_answers(store: Store, database_url: str) -> None:
    twice = [outcome("cat", 1), outcome("dog", 2), outcome("cat", 3, verdict="authentic", score=0.2)]
    answers = store.write(twice)
    seen = [
        (one.job.upload.upload_id, one.job.origin.offset, one.judgement.score)
        for one in answers
        if isinstance(one, Outcome)
    ]
    assert seen == [("cat", 1, 0.9), ("dog", 2, 0.9), ("cat", 3, 0.9)]
    assert ask(database_url, "SELECT count(*) FROM verdicts") == [(2,)]


def test_two_writers_of_the_same_rows_agree(database_url: str) -> None:
    """Each of two workers judges the same 40 batches otherwise; both must be told the same."""
    batches = [[outcome(f"{batch}-{item}") for item in range(50)] for batch in range(40)]
    gate = threading.Barrier(2)
    told: dict[str, list[Outcome | Undeliverable | None]] = {"authentic": [], "synthetic": []}

    def work(verdict: str, reverse: bool) -> None:
        mine = Store(database_url)
        mine.open(BUNDLE, POLICY)
        for batch in batches:
            judged = [
                replace(one, judgement=replace(one.judgement, verdict=verdict))  # type: ignore[arg-type]
                for one in (batch[::-1] if reverse else batch)
            ]
            gate.wait()
            told[verdict] += mine.write(judged)
        mine.close()

    workers = [threading.Thread(target=work, args=("authentic", False))]
    workers += [threading.Thread(target=work, args=("synthetic", True))]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    answers = [
        {one.verdict_id: one.judgement.verdict for one in side if isinstance(one, Outcome)}
        for side in told.values()
    ]
    stored = ask(database_url, "SELECT verdict_id::text, verdict FROM verdicts")
    assert answers[0] == answers[1] == dict(stored)
    assert len(stored) == 2000
    assert ask(database_url, "SELECT sum(uploads)::int FROM daily_verdicts") == [(2000,)]


@pytest.mark.parametrize(
    ("fault", "told"),
    [
        ({"facts": PictureFacts("JP\0EG", 1, 1, 1)}, "unsupported Unicode"),  # text that Postgres cannot hold
        ({"facts": PictureFacts("JPEG", 2**40, 1, 1)}, "out of range"),  # a number that its column cannot
        ({"score": 1.5}, "verdicts_score_is_probability"),  # a check of ours does
        ({"logits": {"probe": float("nan")}}, "invalid input syntax for type json"),
    ],
)
def test_one_poisoned_row_does_not_sink_its_batch(
    store: Store, database_url: str, fault: dict[str, object], told: str
) -> None:
    batch = [outcome(f"o-{number}", number) for number in range(20)]
    batch[13] = outcome("o-13", 13, **fault)
    answers = store.write(batch)
    assert answers[:13] + answers[14:] == batch[:13] + batch[14:]
    refused = answers[13]
    assert isinstance(refused, Undeliverable)
    assert refused.reason is Reason.INTERNAL_ERROR
    assert told in refused.detail
    assert ask(database_url, "SELECT count(*) FROM verdicts") == [(19,)]


def test_the_longest_identifiers_that_events_allow_fit_the_indexes(store: Store) -> None:
    # Each of 256 different four-byte characters: nothing for the index's compression.
    longest = "".join(chr(0x20000 + 37 * number) for number in range(256))
    told = outcome(longest, tenant=longest, uploader_id=longest)
    assert store.write([told]) == [told]
    store.bury([DeadLetter(Origin("t" * 249, 0, 0), Reason.INTERNAL_ERROR, "", b"", 1, told.job.upload)])


def test_a_dead_letter_is_stored_once_a_part_of_its_record(store: Store, database_url: str) -> None:
    place = Origin("image.uploads", 2, 11)
    letters = [
        DeadLetter(place, Reason.INVALID_FIELD, "uri: missing", b'{"a\0b\xff', index=0),
        DeadLetter(place, Reason.INVALID_FIELD, "uri: missing", b'{"a\0b\xff', index=1),
        DeadLetter(place, Reason.ACCESS_DENIED, "a\0b\ud800", b"{}", 3, outcome("cat").job.upload, 2),
    ]
    store.bury(letters)
    store.bury(letters)
    assert ask(database_url, "SELECT item, detail, attempts, raw FROM dead_letters ORDER BY id") == [
        ("#0", "uri: missing", 1, b'{"a\0b\xff'),
        ("#1", "uri: missing", 1, b'{"a\0b\xff'),
        ("cat", "a\N{REPLACEMENT CHARACTER}b?", 3, b"{}"),
    ]


def test_a_letter_that_postgres_refuses_keeps_its_place_and_holds_up_no_other(
    store: Store, database_url: str
) -> None:
    """No letter of ours is refused as the schema ships; a check of the operator's own can do it."""
    ask(database_url, "ALTER TABLE dead_letters ADD CHECK (uri NOT LIKE '%poison%')")
    letters = [
        DeadLetter(Origin("t", 0, number), Reason.ACCESS_DENIED, "403", b"{}", 1, outcome(name).job.upload)
        for number, name in enumerate(("fine", "poison", "well"))
    ]
    store.bury(letters)
    store.bury(letters)
    assert ask(database_url, "SELECT item, reason, uri IS NULL, raw FROM dead_letters ORDER BY item") == [
        ("fine", "access_denied", False, b"{}"),
        ("poison", "internal_error", True, b""),
        ("well", "access_denied", False, b"{}"),
    ]


def test_a_label_is_stored_once_and_a_second_thought_beside_it(store: Store, database_url: str) -> None:
    first = Label(
        verdict_id=UUID(outcome("cat").verdict_id),
        tenant="default",
        upload_id="cat",
        decision="synthetic",
        reviewer="ana",
        decided_at=datetime(2026, 1, 2, tzinfo=UTC),
        note="six\0fingers",
    )
    later = first.model_copy(update={"decision": "unsure", "decided_at": datetime(2026, 1, 3, tzinfo=UTC)})
    store.label([first])
    store.label([first, later])
    assert ask(database_url, "SELECT decision, note FROM reviews ORDER BY decided_at") == [
        ("synthetic", "six\N{REPLACEMENT CHARACTER}fingers"),
        ("unsure", "six\N{REPLACEMENT CHARACTER}fingers"),
    ]


def test_nothing_to_write_contacts_nobody() -> None:
    away = Store("postgresql://127.0.0.1:1/none")
    assert away.write([]) == []
    away.bury([])
    away.label([])


def test_a_restart_is_an_outage_and_then_it_works_again(fresh_postgres: Postgres) -> None:
    store = Store(fresh_postgres.url())
    store.open(BUNDLE, POLICY)
    store.write([outcome("before")])
    fresh_postgres.restart()
    with pytest.raises(Outage, match=r"database is unavailable: .*terminating connection"):
        store.write([outcome("after")])
    assert store.write([outcome("after")]) == [outcome("after")]
    fresh_postgres.stop()
    with pytest.raises(Outage, match="connection"):
        store.write([outcome("never")])
    store.close()


def test_a_read_only_database_is_an_outage(database_url: str) -> None:
    store = Store(f"{database_url}?options=-c%20default_transaction_read_only%3Don")
    with pytest.raises(Outage, match="read-only transaction"):
        store.open(BUNDLE, POLICY)
    store.close()


def test_a_database_without_tables_says_what_to_do(bare_database_url: str) -> None:
    store = Store(bare_database_url)
    with pytest.raises(ConfigError, match=r"has no tables yet: run `pixassay db upgrade`"):
        store.open(BUNDLE, POLICY)
    upgrade(bare_database_url)
    store.open(BUNDLE, POLICY)
    store.close()


def test_another_revision_says_what_to_do(database_url: str) -> None:
    ask(database_url, "UPDATE alembic_version SET version_num = '0001'")
    store = Store(database_url)
    with pytest.raises(ConfigError, match=r"is at revision 0001, this release needs 0004: run `pixassay db"):
        store.open(BUNDLE, POLICY)
    store.close()


def test_a_missing_right_is_no_outage(database_url: str, unique: str) -> None:
    ask(database_url, f"CREATE ROLE {unique} LOGIN PASSWORD 'x'")
    stranger = Store(make_conninfo(database_url, user=unique, password="x"))
    with pytest.raises(ConfigError, match="the database refuses: permission denied for table"):
        stranger.open(BUNDLE, POLICY)
    stranger.close()
    ask(database_url, f"DROP ROLE {unique}")


@pytest.mark.parametrize(
    "url", ["postgres//no", "mysql://secret@host/db", "postgresql://a:secret@h/db?tls=on"]
)
def test_a_wrong_address_is_told_without_its_password(url: str) -> None:
    with pytest.raises(ConfigError, match="PIXASSAY_DATABASE_URL is no address") as caught:
        Store(url)
    assert "secret" not in str(caught.value)
    assert caught.value.__suppress_context__
