"""Changes to tables that workers write to all the while: short waits for locks, and many of them.

Whoever waits for an exclusive lock holds up all who come after it, even those who would not be in each
other's way. So each try waits for a fraction of a second only, and lets the queue pass before the next.
"""

import time
from collections.abc import Callable
from typing import TypeVar

import psycopg
import sqlalchemy as sa

from stream.errors import PixassayError

WAIT_MS = 200  # what a try may hold up others
PAUSE_S = 0.5  # between tries
TRIES = 120  # about a minute and a half

T = TypeVar("T")


def patiently(connection: sa.Connection, work: Callable[[], T]) -> T:
    """Do `work` in a transaction of its own, again and again until it gets its locks.

    `connection` must not be in a transaction. Raises PixassayError where the tables stay in use, and
    whatever else `work` raises.
    """
    for tried in range(1, TRIES + 1):
        try:
            with connection.begin():
                wait_at_most(connection, WAIT_MS)
                connection.execute(sa.text("SET LOCAL statement_timeout = '10min'"))
                return work()
        except sa.exc.OperationalError as error:
            if not isinstance(error.orig, psycopg.errors.LockNotAvailable):
                raise
            if tried < TRIES:
                time.sleep(PAUSE_S)
    raise PixassayError(
        f"the table verdicts stayed in use through {TRIES} tries: a long query or transaction runs on it. "
        "Look for it in pg_stat_activity and run this again; what was done so far stays done"
    )


def wait_at_most(connection: sa.Connection, milliseconds: int) -> None:
    """How long the rest of the transaction waits for any one lock."""
    connection.execute(sa.text(f"SET LOCAL lock_timeout = {milliseconds:d}"))
