"""What people ask of the database: views, the README's questions through psql, the History queries."""

import csv
import subprocess
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from datetime import timedelta
from uuid import UUID

import psycopg
import pytest

from stream.database import upgrade
from stream.embedded import Postgres
from stream.errors import PixassayError
from stream.events import Label, verdict_id
from stream.letters import Wanted
from stream.queries import History, named_queries
from stream.reasons import Reason
from stream.store import Store
from stream.types import DeadLetter, Origin, Outcome
from tests.outcomes import BUNDLE, NOW, POLICY, outcome

OTHER = replace(BUNDLE, id="0b0b0b0b0b0b0b0b")


def by_other(told: Outcome, later: timedelta) -> Outcome:
    """The same upload judged by another bundle."""
    upload = told.job.upload
    named = verdict_id(upload.tenant, upload.upload_id, OTHER.id)
    return replace(told, bundle=OTHER.id, verdict_id=named, decided_at=told.decided_at + later)


def label(told: Outcome) -> Label:
    upload = told.job.upload
    return Label(
        verdict_id=UUID(told.verdict_id),
        tenant=upload.tenant,
        upload_id=upload.upload_id,
        decision="authentic",
        reviewer="ana",
        decided_at=NOW,
    )


@pytest.fixture
def store(database_url: str) -> Iterator[Store]:
    """A history of a few uploads.

    fake and doubt wait for review; seen was reviewed; cleared was flagged once, but by an older bundle;
    old was decided a week ago; clean and broken are not flagged.
    """
    nothing = {"pin_clip": None, "dgs_net": None, "masm": None}
    fake = outcome("fake", score=0.97, uploader_id="mallory", reasons=(Reason.ABOVE_SYNTHETIC,))
    doubt = outcome("doubt", verdict="suspicious", score=0.6, uploader_id="mallory")
    seen = outcome("seen", score=0.99, uploader_id="trent", tenant="art")
    cleared = outcome("cleared", score=0.8, uploader_id="trent")
    clean = by_other(outcome("cleared", verdict="authentic", score=0.1), timedelta(microseconds=1))
    old = outcome("old", verdict="authentic", score=0.2, decided_at=NOW - timedelta(days=7))
    broken = outcome("broken", verdict="unable_to_evaluate", score=None, logits=nothing, facts=None)
    with closing(Store(database_url)) as opened:
        opened.open(BUNDLE, POLICY)
        opened.write([fake, doubt, seen, cleared, old, broken])
        opened.open(OTHER, POLICY)
        opened.write([clean])
        opened.label([label(seen)])
        yield opened


@pytest.fixture
def history(store: Store, database_url: str) -> Iterator[History]:
    with closing(History(database_url)) as opened:
        yield opened


def test_the_review_queue_leaves_out_what_is_settled(history: History) -> None:
    queue = history.review_queue(limit=10)
    assert [(row["upload_id"], row["score"]) for row in queue] == [("fake", 0.97), ("doubt", 0.6)]
    assert [row["upload_id"] for row in history.review_queue(limit=1)] == ["fake"]
    assert history.review_queue(limit=10, tenant="art") == []


def test_a_newer_verdict_that_flags_takes_the_older_ones_place(store: Store, history: History) -> None:
    store.write([by_other(outcome("doubt", score=0.8), timedelta(seconds=1))])
    queue = [(row["upload_id"], row["bundle"], row["score"]) for row in history.review_queue(limit=10)]
    assert queue == [("fake", BUNDLE.id, 0.97), ("doubt", OTHER.id, 0.8)]


def test_a_label_that_came_before_its_verdict_keeps_it_out(store: Store, history: History) -> None:
    early = outcome("early", score=0.99)
    store.label([label(early)])
    store.write([early])
    assert [row["upload_id"] for row in history.review_queue(limit=10)] == ["fake", "doubt"]


def test_the_latest_verdict_of_an_upload_counts(store: Store, database_url: str) -> None:
    with psycopg.connect(database_url) as connection:
        latest = connection.execute("SELECT upload_id, verdict FROM verdicts_latest").fetchall()
    assert ("cleared", "authentic") in latest
    assert len(latest) == 6


COUNTED = """
    SELECT (decided_at AT TIME ZONE 'UTC')::date AS day, tenant, bundle, policy, verdict, count(*),
        avg(score), avg(latency_ms)::double precision
    FROM verdicts GROUP BY 1, 2, 3, 4, 5 ORDER BY 1, 2, 3, 4, 5
"""


def test_days_are_counted_as_verdicts_are_stored(store: Store, database_url: str) -> None:
    other_tenant = outcome("far", tenant="art", verdict="authentic", score=0.1, latency_ms=142)
    store.write([outcome("fake"), other_tenant, outcome("new", score=0.5)])  # the first is there already
    with psycopg.connect(database_url) as connection:
        kept = connection.execute("SELECT * FROM daily_verdicts ORDER BY 1, 2, 3, 4, 5").fetchall()
        assert [row[:6] for row in kept] == [row[:6] for row in connection.execute(COUNTED)]
        means = [row[6:] for row in connection.execute(COUNTED)]
        connection.execute("DELETE FROM verdicts")
        after = connection.execute("SELECT * FROM daily_verdicts ORDER BY 1, 2, 3, 4, 5").fetchall()
    assert len(kept) == 7
    for row, mean in zip(kept, means, strict=True):
        assert row[6:] == (pytest.approx(mean[0]) if mean[0] is not None else None, pytest.approx(mean[1]))
    assert after == kept  # what an erasure or retention deletes was judged all the same


def test_a_batch_that_is_refused_is_not_counted(store: Store, database_url: str) -> None:
    store.write([outcome("good", tenant="t"), outcome("bad", tenant="t", score=1.5)])
    with psycopg.connect(database_url) as connection:
        counted = connection.execute("SELECT uploads FROM daily_verdicts WHERE tenant = 't'").fetchall()
    assert counted == [(1,)]


def test_what_was_stored_before_the_counts_is_counted_by_the_upgrade(store: Store, database_url: str) -> None:
    with psycopg.connect(database_url) as connection:
        before = connection.execute("SELECT * FROM daily_verdicts ORDER BY 1, 2, 3, 4, 5").fetchall()
        connection.execute(
            "DROP TABLE daily_counts CASCADE; DROP FUNCTION count_verdicts CASCADE;"
            "ALTER TABLE reviews DROP COLUMN uploaded_at;"
            "CREATE VIEW daily_verdicts AS SELECT 1 AS day; UPDATE alembic_version SET version_num = '0003'"
        )
    assert upgrade(database_url) == []
    with psycopg.connect(database_url) as connection:
        assert connection.execute("SELECT * FROM daily_verdicts ORDER BY 1, 2, 3, 4, 5").fetchall() == before


def test_psql_answers_the_questions_of_the_readme(
    store: Store, postgres: Postgres, database_url: str
) -> None:
    def psql(name: str) -> list[list[str]]:
        options = ["--no-psqlrc", "--csv", "--tuples-only", "--set=ON_ERROR_STOP=1"]
        values = ["--set=tenant=default", "--set=upload_id=cleared"]
        asked = [str(postgres.psql), *options, *values, "--file=-", database_url]
        sql = named_queries()[name].sql
        told = subprocess.run(asked, input=sql, capture_output=True, text=True, check=True)
        return list(csv.reader(told.stdout.splitlines()))

    day = {row[0]: int(row[1]) for row in psql("verdicts_of_the_last_day")}
    assert day == {"synthetic": 3, "suspicious": 1, "authentic": 1, "unable_to_evaluate": 1}
    queue = [(row[2], row[5]) for row in psql("review_queue")]
    assert queue == [("fake", "0.9700"), ("doubt", "0.6000")]
    one = [(row[0], row[2], row[3], row[4]) for row in psql("scores_of_one_upload")]
    assert one == [(BUNDLE.id, "synthetic", "0.8", "2.5"), (OTHER.id, "authentic", "0.1", "2.5")]
    share = [row[1:] for row in psql("flagged_share_by_day")]
    assert share == [["6", "66.67"], ["1", "0.00"]]
    suspects = [row[:3] for row in psql("most_suspected_uploaders")]
    assert suspects == [["default", "mallory", "2"], ["art", "trent", "1"], ["default", "trent", "1"]]


def test_the_whole_file_of_questions_runs_in_psql(
    store: Store, postgres: Postgres, database_url: str
) -> None:
    options = [
        "--set=ON_ERROR_STOP=1",
        "--set=tenant=default",
        "--set=upload_id=fake",
        "--file=docs/queries.sql",
    ]
    told = subprocess.run(
        [str(postgres.psql), *options, database_url], capture_output=True, text=True, check=True
    )
    assert "mallory" in told.stdout


def test_programs_ask_the_same_questions(history: History) -> None:
    rows = history.named("scores_of_one_upload", tenant="default", upload_id="fake")
    assert [(row["verdict"], row["pin_clip"]) for row in rows] == [("synthetic", 2.5)]
    assert history.named("scores_of_one_upload", tenant="art", upload_id="'; DROP TABLE verdicts; --") == []
    for query in named_queries().values():
        assert query.question.endswith("?")


def test_one_verdict_by_its_id(history: History) -> None:
    fake = outcome("fake")
    assert history.verdict(UUID(fake.verdict_id))["upload_id"] == "fake"
    with pytest.raises(PixassayError, match="there is no verdict 0000"):
        history.verdict(UUID(int=0))


def test_dead_letters_by_reason_and_tenant(store: Store, history: History) -> None:
    upload = outcome("locked", tenant="art").job.upload
    place = Origin("image.uploads", 0, 5)
    store.bury([DeadLetter(place, Reason.ACCESS_DENIED, "403", b"{}", 1, upload)])
    store.bury([DeadLetter(place, Reason.BAD_JSON, "no JSON", b"{", 1, index=1)])
    assert [row["item"] for row in history.dead_letters(10)] == ["#1", "locked"]
    assert [row["item"] for row in history.dead_letters(10, Wanted(tenant="art"))] == ["locked"]
    assert [row["item"] for row in history.dead_letters(10, Wanted(reason=Reason.BAD_JSON))] == ["#1"]
    assert history.letters("image.uploads", 0, [4, 5, 6]) == {5: {"locked", "#1"}}
    assert history.letters("image.uploads", 1, [5]) == {}


def test_rows_of_an_upload_are_counted_a_bundle(history: History, database_url: str) -> None:
    with psycopg.connect(database_url) as connection:  # what no writer of ours does: another uploaded_at
        connection.execute(
            "CREATE TEMP TABLE twin AS SELECT * FROM verdicts WHERE upload_id = 'fake';"
            "UPDATE twin SET uploaded_at = uploaded_at - interval '1 second';"
            "INSERT INTO verdicts SELECT * FROM twin"
        )
    uploads = [("default", "fake"), ("default", "fake"), ("default", "cleared"), ("art", "fake")]
    assert history.verdict_counts(uploads) == {("default", "fake"): 2, ("default", "cleared"): 1}
    assert history.verdict_counts([]) == {}
