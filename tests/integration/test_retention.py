"""Retention and the list of partitions, on a real Postgres with writers at work."""

import threading
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from datetime import UTC, date, datetime
from typing import Any
from uuid import UUID

import orjson
import psycopg
import pytest

from stream import retention, table_locks
from stream.database import maintenance
from stream.errors import PixassayError
from stream.events import Label
from stream.partitions import create_partitions, list_partitions, month_after, months_in_default
from stream.reasons import Reason
from stream.store import Store
from stream.types import DeadLetter, Origin, Outcome
from tests.integration.test_history_commands import run
from tests.outcomes import BUNDLE, NOW, POLICY, outcome

TODAY = datetime.now(UTC).date()
BEFORE = retention.cutoff(TODAY, 2)


def in_month(name: str, ago: int) -> Outcome:
    """Flagged, uploaded on the first day of that month."""
    day = month_after(TODAY, -ago)
    return outcome(name, uploaded_at=datetime(day.year, day.month, 1, tzinfo=UTC))


def label(told: Outcome) -> Label:
    return Label(
        verdict_id=UUID(told.verdict_id),
        tenant="default",
        upload_id=told.job.upload.upload_id,
        decision="synthetic",
        reviewer="ana",
        decided_at=NOW,
    )


def ask(url: str, query: str) -> list[tuple[Any, ...]]:
    with psycopg.connect(url) as connection:
        return connection.execute(query.encode()).fetchall()


@pytest.fixture
def store(database_url: str) -> Iterator[Store]:
    """Flagged uploads of now and of 1 to 4 months ago; of each month one is reviewed, one waits.

    The months of 1 to 3 ago have partitions, the oldest stands in the default one.
    """
    with maintenance(database_url) as connection:
        create_partitions(connection, TODAY, months=0, past=3)
    with closing(Store(database_url)) as opened:
        opened.open(BUNDLE, POLICY)
        rows = [in_month(f"{kind}-{ago}", ago) for ago in range(5) for kind in ("seen", "waits")]
        opened.write(rows)
        opened.label([label(row) for row in rows[::2]])
        opened.bury([DeadLetter(Origin("t", 0, n), Reason.BAD_JSON, "", b"{") for n in range(3)])
        with psycopg.connect(database_url) as connection:
            old = "UPDATE dead_letters SET died_at = died_at - interval '100 days' WHERE \"offset\" > 0"
            connection.execute(old.encode())
            connection.execute('UPDATE dead_letters SET replayed_at = now() WHERE "offset" = 2')
        yield opened


def uploads(url: str, table: str) -> list[str]:
    return [name for (name,) in ask(url, f"SELECT upload_id FROM {table} ORDER BY 1")]


def test_old_months_go_with_all_that_hangs_on_them(store: Store, database_url: str) -> None:
    with maintenance(database_url) as connection:
        planned = retention.plan(connection, BEFORE)
        done = retention.remove(connection, BEFORE)
        assert retention.plan(connection, BEFORE).empty
    for told in (planned, done):
        assert [one.month for one in told.partitions] == [month_after(TODAY, -3)]
        numbers = (told.default_rows, told.reviews, told.pending, told.dead_letters, told.open_dead_letters)
        assert numbers == (2, 2, 2, 2, 1)
    assert uploads(database_url, "verdicts") == [f"{k}-{ago}" for k in ("seen", "waits") for ago in range(3)]
    assert uploads(database_url, "reviews") == [f"seen-{ago}" for ago in range(3)]
    assert uploads(database_url, "review_queue") == [f"waits-{ago}" for ago in range(3)]
    assert ask(database_url, 'SELECT "offset" FROM dead_letters') == [(0,)]
    assert ask(database_url, "SELECT sum(uploads)::int FROM daily_verdicts") == [(10,)]


def test_decisions_go_with_their_verdict_and_no_other(store: Store, database_url: str) -> None:
    """Also one on a verdict that was not flagged, and one that came before its verdict (of a month, of the
    default partition); but not one whose verdict has yet to come."""
    clean = replace(
        in_month("clean", 3), judgement=replace(in_month("clean", 3).judgement, verdict="authentic")
    )
    assert store.write([clean]) == [clean]
    early = [in_month("early-3", 3), in_month("early-4", 4)]
    store.label([label(one) for one in (clean, *early, in_month("to-come", 3))])
    assert store.write(early) == early
    with maintenance(database_url) as connection:
        assert retention.plan(connection, BEFORE).reviews == 5
        assert retention.remove(connection, BEFORE).reviews == 5
    assert uploads(database_url, "reviews") == ["seen-0", "seen-1", "seen-2", "to-come"]


def test_a_retention_that_was_cut_off_goes_on(store: Store, database_url: str) -> None:
    oldest = month_after(TODAY, -3)
    with psycopg.connect(database_url) as connection:
        connection.execute(f"ALTER TABLE verdicts DETACH PARTITION verdicts_{oldest:%Y_%m}".encode())
    with maintenance(database_url) as connection:
        with connection.begin():
            (left,) = [one for one in list_partitions(connection) if not one.attached]
        assert left.month == oldest
        retention.remove(connection, BEFORE)
        with connection.begin():
            assert all(one.attached for one in list_partitions(connection))
    assert uploads(database_url, "reviews") == [f"seen-{ago}" for ago in range(3)]


def test_all_months_leave_before_any_is_cleaned_up(
    store: Store, database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def power_cut(*_: object) -> int:
        raise PixassayError("cut off")

    before = retention.cutoff(TODAY, 1)
    with maintenance(database_url) as connection:
        with monkeypatch.context() as patched:
            patched.setattr(retention, "_drop", power_cut)
            with pytest.raises(PixassayError, match="cut off"):
                retention.remove(connection, before)
        assert uploads(database_url, "verdicts") == [
            "seen-0",
            "seen-1",
            "seen-4",
            "waits-0",
            "waits-1",
            "waits-4",
        ]
        done = retention.remove(connection, before)
    assert [one.attached for one in done.partitions] == [False, False]
    assert done.left_s <= done.seconds
    assert uploads(database_url, "reviews") == ["seen-0", "seen-1"]


def test_writers_go_on_while_months_leave(store: Store, database_url: str) -> None:
    stop, faults, written = threading.Event(), list[Exception](), list[str]()

    def write() -> None:
        with closing(Store(database_url)) as mine:
            mine.open(BUNDLE, POLICY)
            while not stop.is_set():
                batch = [in_month(f"w-{len(written)}-{n}", n) for n in range(2)]
                try:
                    assert mine.write(batch) == batch
                except (PixassayError, AssertionError) as error:
                    faults.append(error)
                    return
                written.extend(one.verdict_id for one in batch)

    writer = threading.Thread(target=write)
    writer.start()
    try:
        with maintenance(database_url) as connection:
            create_partitions(connection, TODAY, months=0, past=12)
            done = retention.remove(connection, BEFORE)
    finally:
        stop.set()
        writer.join()
    assert faults == []
    assert len(done.partitions) == 10
    stored = {str(key) for (key,) in ask(database_url, "SELECT verdict_id FROM verdicts")}
    assert set(written) <= stored


def test_a_table_in_use_is_told_and_holds_up_no_writer(
    store: Store, database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(table_locks, "PAUSE_S", 0.0)
    monkeypatch.setattr(table_locks, "TRIES", 2)
    with psycopg.connect(database_url) as reader:  # a report that runs on and on
        reader.execute("SELECT count(*) FROM verdicts")
        with (
            pytest.raises(PixassayError, match=r"stayed in use through 2 tries.*pg_stat_activity"),
            maintenance(database_url) as connection,
        ):
            retention.remove(connection, BEFORE)
        assert store.write([in_month("new", 0)]) == [in_month("new", 0)]
    assert len(uploads(database_url, "verdicts")) == 11


def test_rows_of_the_default_partition_are_listed_by_month(store: Store, database_url: str) -> None:
    with maintenance(database_url) as connection, connection.begin():
        assert months_in_default(connection) == [(month_after(TODAY, -4), 2)]
        assert list_partitions(connection)[-1].rows == 2


@pytest.mark.parametrize(
    ("ago", "first"), [(1, date(2026, 1, 1)), (2, date(2025, 12, 1)), (14, date(2024, 12, 1))]
)
def test_this_month_and_so_many_before_it_stay(ago: int, first: date) -> None:
    assert retention.cutoff(date(2026, 2, 28), ago) == first


def test_the_command(
    store: Store, database_url: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("PIXASSAY_DATABASE_URL", database_url)
    assert run("db", "retain", "--months", "0") == 2
    capsys.readouterr()
    assert run("db", "retain", "--months", "2", "--dry-run") == 0
    told = capsys.readouterr().out
    assert f"verdicts_{month_after(TODAY, -3):%Y_%m} would go" in told
    assert "1 of the dead letters were neither replayed nor dropped" in told
    assert run("db", "retain", "--months", "2") == 1  # nobody is there to say yes
    assert len(uploads(database_url, "verdicts")) == 10
    capsys.readouterr()
    assert run("db", "retain", "--months", "2", "--yes", "--json") == 0
    done = orjson.loads(capsys.readouterr().out)
    assert (done["before"], done["default_rows"], done["dry_run"]) == (f"{BEFORE}", 2, False)
    assert len(uploads(database_url, "verdicts")) == 6
    assert run("db", "retain", "--months", "2", "--yes") == 0
    assert capsys.readouterr().out == f"nothing is older than {BEFORE}\n"
    assert run("db", "partitions", "--months", "0", "--past", "2") == 0
    assert "verdicts_default" in capsys.readouterr().out


def test_a_batch_of_the_default_partition_at_a_time(
    store: Store, database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(retention, "_BATCH", 2)
    store.write([in_month(f"more-{n}", 6) for n in range(3)])
    with maintenance(database_url) as connection:
        assert retention.remove(connection, BEFORE).default_rows == 5
    newest = ask(database_url, "SELECT min(uploaded_at) FROM verdicts")[0][0]
    assert newest >= datetime(BEFORE.year, BEFORE.month, 1, tzinfo=UTC)
