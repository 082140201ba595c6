"""Retention: months that are past it leave the database, and with them all that hangs on their uploads.

DETACH ... CONCURRENTLY is not to be had where there is a default partition, and a plain DETACH locks the
whole table. It only has to lock it for a moment: each month is detached in a transaction of its own, with
short waits, and what takes time (decisions, the files of the table) follows when all have left and nobody
else sees them.

Decisions go by when their picture was uploaded, which they know; those that came before their verdict (or
before revision 0004) do not, and are looked up among the verdicts that leave.

Cut off at any point, it goes on where it stopped when it is run again: a month that is detached already
is found by its name. Counts by day, erasures' marks and receipts, bundles and policies stay.
"""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from functools import partial

import sqlalchemy as sa

from stream.partitions import Partition, bound, list_partitions, month_after
from stream.table_locks import WAIT_MS, patiently, wait_at_most

_BATCH = 5_000  # rows of the default partition that are deleted at a time
_YIELD_MS = 2_000  # longer than autovacuum takes to make way (deadlock_timeout, 1 s)


@dataclass(frozen=True, slots=True)
class Removal:
    """What leaves, or has left: numbers of rows."""

    before: date  # what was uploaded (or died) before this day, UTC, leaves
    partitions: tuple[Partition, ...]
    default_rows: int  # verdicts of such a time in the default partition
    reviews: int  # decisions on the verdicts that leave
    pending: int  # of the review queue
    dead_letters: int
    open_dead_letters: int  # of these: neither sent in again nor dropped
    detach_s: float = 0.0  # longest time that one detaching took, waiting for locks included
    left_s: float = 0.0  # until the last month had left the history; what follows is in nobody's way
    seconds: float = 0.0  # all of it

    @property
    def empty(self) -> bool:
        """Whether there is nothing to do."""
        rows = self.default_rows + self.reviews + self.pending + self.dead_letters
        return not self.partitions and not rows


def cutoff(today: date, months: int) -> date:
    """The first day that stays where this month and `months` before it are kept."""
    return month_after(today, -months)


def plan(connection: sa.Connection, before: date) -> Removal:
    """What `remove` would take away now. Reads only."""
    with connection.begin():
        connection.execute(sa.text("SET LOCAL statement_timeout = '10min'"))
        old = _expired(connection, before)
        counted = {name: _count(connection, query, before) for name, query in _COUNTS.items()}
        reviews = sum(_count(connection, _EARLY_REVIEWS_IN.format(name=one.name), before) for one in old)
    return Removal(before, old, **{**counted, "reviews": counted["reviews"] + reviews})


def remove(connection: sa.Connection, before: date) -> Removal:
    """Take away what was uploaded before this day. `connection` must not be in a transaction.

    Raises PixassayError where the tables stay in use; what was removed until then stays removed.
    """
    started = time.monotonic()
    with connection.begin():
        old = _expired(connection, before)
    detached = [_timed_detach(connection, one.name) for one in old if one.attached]
    left_s = time.monotonic() - started
    reviews = sum(patiently(connection, partial(_drop, connection, one.name)) for one in old)
    default_rows, more = _empty_default(connection, before)
    with connection.begin():
        connection.execute(sa.text("SET LOCAL statement_timeout = '10min'"))
        dated = connection.execute(sa.text(_DELETE_REVIEWS.format(low=bound(before)))).rowcount
        still_open = _count(connection, _COUNTS["open_dead_letters"], before)
        pending = connection.execute(sa.text(_DELETE_PENDING.format(low=bound(before)))).rowcount
        letters = connection.execute(sa.text(_DELETE_LETTERS.format(low=bound(before)))).rowcount
    spent = time.monotonic() - started
    return Removal(
        before=before,
        partitions=old,
        default_rows=default_rows,
        reviews=reviews + more + dated,
        pending=pending,
        dead_letters=letters,
        open_dead_letters=still_open,
        detach_s=max(detached, default=0.0),
        left_s=left_s,
        seconds=spent,
    )


def _expired(connection: sa.Connection, before: date) -> tuple[Partition, ...]:
    return tuple(one for one in list_partitions(connection) if one.month and one.month < before)


def _timed_detach(connection: sa.Connection, name: str) -> float:
    started = time.monotonic()
    patiently(connection, partial(_detach, connection, name))
    return time.monotonic() - started


def _detach(connection: sa.Connection, name: str) -> None:
    """First autovacuum is made to yield, with a lock that is in nobody else's way. Then, for a moment, the
    whole table is locked: readers look into every month, so there is no locking just this one."""
    wait_at_most(connection, _YIELD_MS)
    connection.execute(sa.text(f"LOCK TABLE {name} IN SHARE UPDATE EXCLUSIVE MODE"))
    wait_at_most(connection, WAIT_MS)
    connection.execute(sa.text(f"ALTER TABLE verdicts DETACH PARTITION {name}"))


def _drop(connection: sa.Connection, name: str) -> int:
    """Drop a month that is detached; how many reviews that came before their verdict went with it."""
    connection.execute(sa.text("SET LOCAL jit = off"))  # compiling would take longer than the looks
    gone = connection.execute(sa.text(_DELETE_EARLY_REVIEWS.format(name=name))).rowcount
    connection.execute(sa.text(f"DROP TABLE {name}"))
    return gone


def _empty_default(connection: sa.Connection, before: date) -> tuple[int, int]:
    """Delete what is too old in the default partition; the number of verdicts and of their reviews."""
    rows = reviews = 0
    while True:
        with connection.begin():
            query = sa.text(_DELETE_DEFAULT.format(low=bound(before)))
            ids: Sequence[object] = connection.execute(query, {"batch": _BATCH}).scalars().all()
            rows += len(ids)
            reviews += connection.execute(_DELETE_REVIEWS_OF, {"ids": list(ids)}).rowcount
        if len(ids) < _BATCH:
            return rows, reviews


def _count(connection: sa.Connection, query: str, before: date) -> int:
    return int(connection.scalar(sa.text(query.format(low=bound(before)))) or 0)


# Names and bounds are made of two integers, and DDL takes no parameters.
# Each looks for its verdict in the month's index (OFFSET 0 keeps it a look): a join would read all of these.
_EARLY_REVIEWS_IN = """
    SELECT count(*) FROM reviews
    WHERE uploaded_at IS NULL
        AND EXISTS (SELECT FROM {name} AS old WHERE old.verdict_id = reviews.verdict_id OFFSET 0)
"""
_DELETE_EARLY_REVIEWS = """
    DELETE FROM reviews
    WHERE uploaded_at IS NULL
        AND EXISTS (SELECT FROM {name} AS old WHERE old.verdict_id = reviews.verdict_id OFFSET 0)
"""
_COUNTS = {
    "default_rows": "SELECT count(*) FROM verdicts_default WHERE uploaded_at < {low}",
    "reviews": (
        "SELECT count(*) FROM reviews WHERE uploaded_at < {low} OR uploaded_at IS NULL AND verdict_id IN"
        " (SELECT verdict_id FROM verdicts_default WHERE uploaded_at < {low})"
    ),
    "pending": "SELECT count(*) FROM review_pending WHERE uploaded_at < {low}",
    "dead_letters": "SELECT count(*) FROM dead_letters WHERE died_at < {low}",
    "open_dead_letters": (
        "SELECT count(*) FROM dead_letters"
        " WHERE died_at < {low} AND replayed_at IS NULL AND dropped_at IS NULL"
    ),
}
_DELETE_DEFAULT = """
    DELETE FROM verdicts_default
    WHERE ctid = ANY (ARRAY(SELECT ctid FROM verdicts_default WHERE uploaded_at < {low} LIMIT :batch))
    RETURNING verdict_id
"""
_DELETE_REVIEWS_OF = sa.text("DELETE FROM reviews WHERE verdict_id = ANY (CAST(:ids AS uuid[]))")
_DELETE_REVIEWS = "DELETE FROM reviews WHERE uploaded_at < {low}"
_DELETE_PENDING = "DELETE FROM review_pending WHERE uploaded_at < {low}"
_DELETE_LETTERS = "DELETE FROM dead_letters WHERE died_at < {low}"
