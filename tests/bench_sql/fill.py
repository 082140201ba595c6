"""Fills a database with a made-up history."""

import random
from collections.abc import Callable
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path

import sqlalchemy as sa

from stream.database import maintenance
from stream.partitions import create_partitions
from stream.store import Store
from tests.outcomes import BUNDLE, POLICY

MONTH = timedelta(days=365.25 / 12)
_CHUNK = 100_000
_VERDICTS = sa.text(Path(__file__).with_name("fill.sql").read_text("utf-8"))
# Reviewers are a week behind and have left out one in twenty.
_REVIEWS = sa.text(
    """
    INSERT INTO reviews (verdict_id, reviewer, decided_at, tenant, upload_id, uploaded_at, decision)
    SELECT verdict_id, 'reviewer-' || floor(10 * random()), decided_at + interval '1 day', tenant, upload_id,
        uploaded_at,
        CASE WHEN random() < 0.6 THEN 'synthetic' WHEN random() < 0.9 THEN 'authentic' ELSE 'unsure' END
    FROM verdicts
    WHERE verdict IN ('suspicious', 'synthetic') AND uploaded_at < now() - interval '7 days'
        AND random() < 0.95
    """
)
_PENDING = sa.text(
    """
    INSERT INTO review_pending
    SELECT tenant, upload_id, bundle, uploaded_at, score, decided_at
    FROM verdicts
    WHERE verdict IN ('suspicious', 'synthetic')
        AND NOT EXISTS (SELECT FROM reviews WHERE reviews.verdict_id = verdicts.verdict_id)
    """
)
_LETTERS = sa.text(
    """
    INSERT INTO dead_letters (topic, partition, "offset", item, reason, detail, raw, attempts, died_at)
    SELECT 'image.uploads', 0, n, '#0', 'bad_json', 'made up', convert_to(repeat('x', 300), 'UTF8'), 1,
        now() - CAST(:span AS interval) * n / :letters
    FROM generate_series(1, CAST(:letters AS bigint)) AS n
    """
)


def fill(url: str, rows: int, months: int, seed: int, tell: Callable[[str], None]) -> None:
    """`rows` verdicts over the `months` before now, most old flags reviewed; one dead letter to 1000 rows."""
    span = months * MONTH
    start = datetime.now(UTC) - span
    with closing(Store(url)) as store:
        store.open(BUNDLE, POLICY)
    with maintenance(url) as connection:
        create_partitions(connection, datetime.now(UTC).date(), months=1, past=months)
        for first in range(1, rows + 1, _CHUNK):
            last = min(first + _CHUNK - 1, rows)
            values = {"first": first, "last": last, "total": rows, "start": start}
            values |= {"seconds": span.total_seconds(), "bundle": BUNDLE.id, "policy": POLICY.id}
            _do(connection, _VERDICTS, values, seed + first)
            tell(f"{last:,} of {rows:,} verdicts")
        _do(connection, _REVIEWS, {}, seed)
        _do(connection, _PENDING, {}, seed)
        _do(connection, _LETTERS, {"letters": max(rows // 1000, 1), "span": f"{span.days} days"}, seed)


def settle(url: str) -> None:
    """What autovacuum would have done in the course of the months."""
    with maintenance(url) as connection:
        connection.execution_options(isolation_level="AUTOCOMMIT")
        connection.execute(sa.text("SET statement_timeout = 0"))
        connection.execute(sa.text("VACUUM (ANALYZE)"))
        connection.execute(sa.text("CHECKPOINT"))


def _do(connection: sa.Connection, statement: sa.TextClause, values: dict[str, object], seed: int) -> None:
    with connection.begin():
        connection.execute(sa.text("SET LOCAL statement_timeout = 0"))
        connection.execute(sa.text("SELECT setseed(:seed)"), {"seed": random.Random(seed).uniform(-1, 1)})
        connection.execute(statement, values)
