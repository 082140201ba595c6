"""Migrations, partitions, views and the reader role on a real Postgres."""

import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager
from datetime import UTC, date, datetime
from typing import Any
from uuid import UUID

import psycopg
import pytest
import sqlalchemy as sa
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from psycopg.conninfo import make_conninfo

from stream import tables
from stream.database import check_schema, connect, maintenance, upgrade
from stream.embedded import Postgres
from stream.errors import ConfigError, Outage
from stream.events import Label
from stream.partitions import create_partitions
from stream.queries import History
from stream.reasons import Reason
from stream.store import Store
from stream.types import DeadLetter, Origin
from tests.outcomes import BUNDLE, POLICY, outcome

Session = psycopg.Connection[tuple[Any, ...]]
TODAY = datetime.now(UTC).date()
ROLES = ("pixassay_reader", "pixassay_worker")


@pytest.fixture
def sql(database_url: str) -> Iterator[Session]:
    with psycopg.connect(database_url, autocommit=True) as connection:
        yield connection


@contextmanager
def alchemy(url: str) -> Iterator[sa.Connection]:
    """A plain SQLAlchemy connection whose engine goes with it."""
    engine = connect(url)
    with engine.connect() as connection:
        yield connection
    engine.dispose()


def names(connection: Session) -> list[str]:
    """The partitions of verdicts."""
    query = (
        "SELECT inhrelid::regclass::text FROM pg_inherits WHERE inhparent = 'verdicts'::regclass ORDER BY 1"
    )
    return [name for (name,) in connection.execute(query)]


def partition(url: str, today: date, months: int, past: int) -> list[str]:
    with maintenance(url) as connection:
        return create_partitions(connection, today, months, past)


def month(first: date, ahead: int) -> str:
    later = first.month - 1 + ahead
    return f"verdicts_{first.year + later // 12}_{later % 12 + 1:02d}"


def test_upgrade_makes_this_and_the_next_month(sql: Session) -> None:
    assert names(sql) == [month(TODAY, 0), month(TODAY, 1), "verdicts_default"]


def test_the_python_tables_are_what_the_migrations_make(database_url: str) -> None:
    def ours(thing: object, name: str | None, kind: str, *_: object) -> bool:
        return not (kind == "table" and name and (name.startswith("verdicts_") or name == "alembic_version"))

    options = {"include_object": ours, "compare_server_default": True}
    with alchemy(database_url) as connection:
        context = MigrationContext.configure(connection, opts=options)
        assert compare_metadata(context, tables.metadata) == []


def test_every_month_finds_verdicts_by_a_hash(database_url: str, sql: Session) -> None:
    """The comparison above does not see of what kind an index is."""
    assert partition(database_url, TODAY, months=2, past=0) == [month(TODAY, 2)]
    hashed = sql.execute(
        "SELECT tablename FROM pg_indexes WHERE indexdef LIKE '% USING hash (verdict_id)' ORDER BY 1"
    ).fetchall()
    assert [name for (name,) in hashed] == ["verdicts", *names(sql)]


def test_every_column_of_every_table_and_view_has_a_comment(sql: Session) -> None:
    bare = sql.execute(
        "SELECT relname, attname FROM pg_class JOIN pg_attribute ON attrelid = pg_class.oid"
        " WHERE relnamespace = 'public'::regnamespace AND relkind IN ('r', 'p', 'v') AND attnum > 0"
        " AND relname <> 'alembic_version' AND col_description(attrelid, attnum) IS NULL"
    ).fetchall()
    assert bare == []
    objects = sql.execute(
        "SELECT relname FROM pg_class WHERE relnamespace = 'public'::regnamespace"
        " AND relkind IN ('r', 'p', 'v') AND NOT relispartition AND relname <> 'alembic_version'"
        " AND obj_description(oid, 'pg_class') IS NULL"
    ).fetchall()
    assert objects == []


def test_upgrading_again_changes_nothing(database_url: str, sql: Session) -> None:
    before = names(sql)
    assert upgrade(database_url) == []
    assert names(sql) == before
    assert f"schema 0004, newest partition {month(TODAY, 1)}" in check_schema(database_url)


def test_many_deployers_of_many_databases_at_once(fresh_postgres: Postgres) -> None:
    """The role belongs to the cluster: it must be made once, by whoever comes first."""
    for role in ROLES:
        fresh_postgres.query(f"DROP OWNED BY {role}")
        fresh_postgres.query(f"DROP ROLE {role}")
    urls = [fresh_postgres.create_database(f"tenant{number}") for number in range(2)] * 2
    command = [sys.executable, "-m", "stream", "db", "upgrade"]
    deployers = [
        subprocess.Popen(
            command,
            env={**os.environ, "PIXASSAY_DATABASE_URL": url},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        for url in urls
    ]
    told = [deployer.communicate(timeout=120) for deployer in deployers]
    assert [(deployer.returncode, err) for deployer, (_, err) in zip(deployers, told, strict=True)] == [
        (0, b"")
    ] * 4
    assert all(b"schema 0004" in out for out, _ in told)


def test_months_ahead_and_past_are_made_once(database_url: str, sql: Session) -> None:
    start = date(2031, 11, 30)
    made = partition(database_url, start, months=2, past=1)
    assert made == ["verdicts_2031_10", "verdicts_2031_11", "verdicts_2031_12", "verdicts_2032_01"]
    assert partition(database_url, start, months=2, past=1) == []
    bounds = sql.execute(
        "SELECT pg_get_expr(relpartbound, oid) FROM pg_class WHERE relname = 'verdicts_2031_12'"
    ).fetchone()
    assert bounds == ("FOR VALUES FROM ('2031-12-01 00:00:00+00') TO ('2032-01-01 00:00:00+00')",)


def test_rows_move_out_of_the_default_partition(database_url: str, sql: Session) -> None:
    with closing(Store(database_url)) as store:
        store.open(BUNDLE, POLICY)
        edges = ["2031-12-01T00:00:00+00:00", "2032-01-01T00:59:59+01:00"]  # the second is 31 December, UTC
        outside = ["2031-11-30T23:59:59+00:00", "2032-01-01T00:00:00+00:00"]
        early = [outcome(f"o-{at}", uploaded_at=datetime.fromisoformat(at)) for at in edges + outside]
        store.write(early)
        where = "SELECT tableoid::regclass::text, count(*) FROM verdicts GROUP BY 1 ORDER BY 1"
        assert sql.execute(where).fetchall() == [("verdicts_default", 4)]
        assert partition(database_url, date(2031, 12, 5), months=0, past=0) == ["verdicts_2031_12"]
        assert sql.execute(where).fetchall() == [("verdicts_2031_12", 2), ("verdicts_default", 2)]
        assert store.write(early) == early  # a replay finds its rows where they went
    assert sql.execute("SELECT sum(uploads)::int FROM daily_verdicts").fetchone() == (4,)


def test_writers_go_on_while_months_are_made(database_url: str) -> None:
    """Rows of the very months that are being made come in all the while; none is lost or refused."""
    written, stop, faults = list[str](), threading.Event(), list[Exception]()

    def write() -> None:
        with closing(Store(database_url)) as store:
            store.open(BUNDLE, POLICY)
            while not stop.is_set():
                batch = [
                    outcome(f"w-{len(written)}-{n}", uploaded_at=datetime(2040, n + 1, 2, tzinfo=UTC))
                    for n in range(12)
                ]
                try:
                    assert store.write(batch) == batch
                except (Outage, AssertionError) as error:
                    faults.append(error)
                    return
                written.extend(one.verdict_id for one in batch)

    writer = threading.Thread(target=write)
    writer.start()
    try:
        made = partition(database_url, date(2040, 1, 1), months=11, past=0)
    finally:
        stop.set()
        writer.join()
    assert faults == []
    assert len(made) == 12
    with alchemy(database_url) as connection:
        stored = connection.execute(sa.text("SELECT verdict_id::text FROM verdicts")).scalars().all()
    assert sorted(stored) == sorted(written)


@pytest.fixture
def reader(database_url: str, sql: Session, unique: str) -> Iterator[Session]:
    """Someone whose only right is to be in the reader role."""
    sql.execute(f"CREATE ROLE {unique} LOGIN PASSWORD 'x' IN ROLE pixassay_reader".encode())
    with psycopg.connect(
        make_conninfo(database_url, user=unique, password="x"), autocommit=True
    ) as connection:
        yield connection
    sql.execute(f"DROP ROLE {unique}".encode())


@pytest.mark.parametrize(
    "relation",
    [
        *(table.name for table in tables.metadata.sorted_tables),
        "verdicts_latest",
        "review_queue",
        "daily_verdicts",
    ],
)
def test_the_reader_reads_everything(reader: Session, relation: str) -> None:
    assert reader.execute(f"SELECT * FROM {relation}".encode()).fetchall() == []


@pytest.mark.parametrize(
    "attempt",
    [
        *(f"DELETE FROM {table.name}" for table in tables.metadata.sorted_tables),
        "UPDATE verdicts SET verdict = 'authentic'",
        "INSERT INTO policies (id, document) VALUES ('x', '{}')",
        "TRUNCATE verdicts",
        "DROP VIEW review_queue",
        "CREATE TABLE mine (x int)",
        "DELETE FROM verdicts_default",
    ],
)
def test_the_reader_changes_nothing(reader: Session, attempt: str) -> None:
    with pytest.raises(psycopg.errors.InsufficientPrivilege):
        reader.execute(attempt.encode())


@pytest.fixture
def worker(database_url: str, sql: Session, unique: str) -> Iterator[str]:
    """The address for someone whose only right is to be in the worker role."""
    name = f"w{unique}"
    sql.execute(f"CREATE ROLE {name} LOGIN PASSWORD 'x' IN ROLE pixassay_worker".encode())
    yield make_conninfo(database_url, user=name, password="x")
    sql.execute(f"DROP ROLE {name}".encode())


def test_the_worker_role_suffices_for_a_worker(worker: str) -> None:
    label = Label(
        verdict_id=UUID(outcome("a").verdict_id),
        tenant="default",
        upload_id="a",
        decision="unsure",
        reviewer="ana",
        decided_at=datetime.now(UTC),
    )
    assert "schema 0004" in check_schema(worker)
    with closing(Store(worker)) as store:
        store.open(BUNDLE, POLICY)
        batch = [outcome("a"), outcome("b", verdict="authentic"), outcome("c")]
        assert store.write(batch) == batch == store.write(batch)
        store.label([label])
        store.bury([DeadLetter(Origin("t", 0, 1), Reason.BAD_JSON, "", b"")])
    with closing(History(worker)) as history:
        assert [row["upload_id"] for row in history.review_queue(10)] == ["c"]


@pytest.mark.parametrize(
    "attempt",
    [
        *(
            f"DELETE FROM {name}"
            for name in ("verdicts", "reviews", "dead_letters", "erased", "erasures", "daily_counts")
        ),
        "UPDATE daily_counts SET uploads = 0",
        *(f"TRUNCATE {table.name}" for table in tables.metadata.sorted_tables),
        *(f"DROP TABLE {table.name}" for table in tables.metadata.sorted_tables),
        *(f"ALTER TABLE {table.name} ADD COLUMN x int" for table in tables.metadata.sorted_tables),
        "UPDATE verdicts SET verdict = 'authentic'",
        "UPDATE dead_letters SET raw = ''",
        "ALTER TABLE verdicts DETACH PARTITION verdicts_default",
        "DELETE FROM verdicts_default",
        "CREATE TABLE mine (x int)",
    ],
)
def test_the_worker_role_destroys_nothing(worker: str, attempt: str) -> None:
    with (
        psycopg.connect(worker, autocommit=True) as connection,
        pytest.raises(psycopg.errors.InsufficientPrivilege),
    ):
        connection.execute(attempt.encode())


def test_without_the_right_to_make_roles_the_upgrade_says_so(fresh_postgres: Postgres) -> None:
    for role in ROLES:
        fresh_postgres.query(f"DROP OWNED BY {role}")
        fresh_postgres.query(f"DROP ROLE {role}")
    fresh_postgres.query("CREATE ROLE deployer LOGIN PASSWORD 'x'")
    fresh_postgres.query("CREATE DATABASE shop OWNER deployer")
    url = make_conninfo(fresh_postgres.url("shop"), user="deployer", password="x")
    warnings = upgrade(url)
    for role, warning in zip(ROLES, warnings, strict=True):
        assert f'run "CREATE ROLE {role} NOLOGIN", then run "pixassay db upgrade" again' in warning
        fresh_postgres.query(f"CREATE ROLE {role} NOLOGIN")
    assert upgrade(url) == []
    assert (
        fresh_postgres.query("SET ROLE pixassay_reader; SELECT count(*) FROM review_queue", "shop") == "0\n"
    )


def test_a_user_who_may_not_make_tables_is_told(fresh_postgres: Postgres) -> None:
    fresh_postgres.query("CREATE ROLE guest LOGIN PASSWORD 'x'")
    fresh_postgres.create_database("closed")
    url = make_conninfo(fresh_postgres.url("closed"), user="guest", password="x")
    with pytest.raises(ConfigError, match="permission denied for schema public"):
        upgrade(url)
