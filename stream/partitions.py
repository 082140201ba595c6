"""Monthly partitions of `verdicts`: made before they are needed, without stopping the workers' inserts.

A month is attached rather than created in place: ATTACH leaves the parent table writable, and only the
default partition is locked, for as long as it takes to move that month's rows out of it.
"""

from dataclasses import dataclass
from datetime import date
from functools import partial

import sqlalchemy as sa

from stream.table_locks import patiently

DEFAULT = "verdicts_default"
# Any constant does, as long as every release uses the same.
_LOCK = 0x70697862


@dataclass(frozen=True, slots=True)
class Partition:
    """One partition as it stands."""

    name: str
    month: date | None  # its first day; None for the default partition
    attached: bool  # False where a retention was cut off between detaching and dropping
    rows: int  # exact for the default partition, else as the server's statistics have it
    bytes: int  # with indexes


def create_partitions(connection: sa.Connection, today: date, months: int, past: int = 0) -> list[str]:
    """Make the partitions of this month, of `months` later and of `past` earlier ones, where missing.

    Rows of such a month that stand in the default partition move into it. A transaction a month, so
    `connection` must not be in one. Returns the names of the partitions that were made. Raises
    PixassayError where the tables stay in use.
    """
    wanted = [month_after(today, ahead) for ahead in range(-past, months + 1)]
    return [name_of(month) for month in wanted if patiently(connection, partial(_create, connection, month))]


def list_partitions(connection: sa.Connection) -> list[Partition]:
    """All partitions, the oldest month first and the default partition last."""
    found = [_partition(row) for row in connection.execute(_LIST).mappings()]
    return sorted(found, key=lambda one: one.month or date.max)


def months_in_default(connection: sa.Connection) -> list[tuple[date, int]]:
    """How many rows of which month (its first day) stand in the default partition."""
    return [(row.month, row.rows) for row in connection.execute(_IN_DEFAULT)]


def newest_partition(connection: sa.Connection) -> str:
    """The name of the newest month's partition, or "none"."""
    query = sa.text(
        "SELECT max(inhrelid::regclass::text) FROM pg_inherits"
        " WHERE inhparent = 'verdicts'::regclass AND inhrelid <> 'verdicts_default'::regclass"
    )
    return str(connection.scalar(query) or "none")


def month_after(start: date, ahead: int) -> date:
    """The first day of the month that is `ahead` months after that of `start`."""
    years, month = divmod(start.month - 1 + ahead, 12)
    return date(start.year + years, month + 1, 1)


def name_of(month: date) -> str:
    """The name of a month's partition."""
    return f"verdicts_{month:%Y_%m}"


def bound(month: date) -> str:
    """The start of a month as SQL."""
    return f"timestamptz '{month:%Y-%m}-01 00:00:00+00'"


def _create(connection: sa.Connection, month: date) -> bool:
    name, low, high = name_of(month), bound(month), bound(month_after(month, 1))
    connection.execute(sa.text("SELECT pg_advisory_xact_lock(:lock)"), {"lock": _LOCK})
    if connection.scalar(sa.text("SELECT to_regclass(:name)"), {"name": name}) is not None:
        return False
    for statement in _STEPS:
        connection.execute(sa.text(statement.format(name=name, low=low, high=high)))
    return True


# Names and bounds are made of two integers, and DDL takes no parameters.
_STEPS = (
    "CREATE TABLE {name} (LIKE verdicts INCLUDING ALL)",
    "LOCK TABLE verdicts_default IN ACCESS EXCLUSIVE MODE",
    (
        "WITH moved AS (DELETE FROM verdicts_default WHERE uploaded_at >= {low} AND uploaded_at < {high} "
        "RETURNING *) INSERT INTO {name} SELECT * FROM moved"
    ),
    "ALTER TABLE verdicts ATTACH PARTITION {name} FOR VALUES FROM ({low}) TO ({high})",
)

_LIST = sa.text(
    """
    SELECT
        relname AS name,
        EXISTS (SELECT FROM pg_inherits WHERE inhrelid = oid AND inhparent = 'verdicts'::regclass)
            AS attached,
        CASE WHEN relname = 'verdicts_default' THEN (SELECT count(*) FROM verdicts_default)
            ELSE pg_stat_get_live_tuples(oid) END AS rows,
        pg_total_relation_size(oid) AS bytes
    FROM pg_class
    WHERE relkind = 'r'
        AND relnamespace = (SELECT relnamespace FROM pg_class WHERE oid = 'verdicts'::regclass)
        AND relname ~ '^verdicts_([0-9]{4}_[0-9]{2}|default)$'
    """
)

_IN_DEFAULT = sa.text(
    """
    SELECT date_trunc('month', uploaded_at AT TIME ZONE 'UTC')::date AS month, count(*) AS rows
    FROM verdicts_default
    GROUP BY month
    ORDER BY month
    """
)


def _partition(row: sa.RowMapping) -> Partition:
    name = row["name"]
    month = None if name == DEFAULT else date(int(name[9:13]), int(name[14:16]), 1)
    return Partition(name, month, row["attached"], row["rows"], row["bytes"])
