"""Monthly partitions of `verdicts`: made before they are needed, without stopping the workers' inserts.

A month is attached rather than created in place: ATTACH leaves the parent table writable, and only the
default partition is locked, for as long as it takes to move that month's rows out of it.
"""

from datetime import date

import sqlalchemy as sa

# Any constant does, as long as every release uses the same.
_LOCK = 0x70697862


def create_partitions(connection: sa.Connection, today: date, months: int, past: int = 0) -> list[str]:
    """Make the partitions of this month, of `months` later and of `past` earlier ones, where missing.

    Rows of such a month that stand in the default partition move into it. A transaction a month, so
    `connection` must not be in one. Returns the names of the partitions that were made.
    """
    wanted = [_month(today, ahead) for ahead in range(-past, months + 1)]
    return [_name(month) for month in wanted if _create(connection, month)]


def newest_partition(connection: sa.Connection) -> str:
    """The name of the newest month's partition, or "none"."""
    query = sa.text(
        "SELECT max(inhrelid::regclass::text) FROM pg_inherits"
        " WHERE inhparent = 'verdicts'::regclass AND inhrelid <> 'verdicts_default'::regclass"
    )
    return str(connection.scalar(query) or "none")


def _create(connection: sa.Connection, month: date) -> bool:
    name, low, high = _name(month), _bound(month), _bound(_month(month, 1))
    with connection.begin():
        connection.execute(sa.text("SET LOCAL lock_timeout = '5s'"))
        connection.execute(sa.text("SET LOCAL statement_timeout = '10min'"))
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


def _month(start: date, ahead: int) -> date:
    years, month = divmod(start.month - 1 + ahead, 12)
    return date(start.year + years, month + 1, 1)


def _name(month: date) -> str:
    return f"verdicts_{month:%Y_%m}"


def _bound(month: date) -> str:
    return f"timestamptz '{month:%Y-%m}-01 00:00:00+00'"
