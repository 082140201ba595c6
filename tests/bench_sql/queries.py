"""How long the questions take, asked as the commands ask them."""

import random
import time
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from functools import partial
from uuid import UUID

import numpy as np
import sqlalchemy as sa

from stream.database import maintenance
from stream.policy import Thresholds
from stream.queries import History, named_queries
from stream.what_if import Period, judge_again
from tests.bench_sql.processor import Processor
from tests.outcomes import BUNDLE

_WARM = 5
Known = tuple[str, str, UUID]  # tenant, upload_id, verdict_id


@dataclass(frozen=True, slots=True)
class Timing:
    """Milliseconds of one question, from the call to the last row."""

    name: str
    runs: int
    p50: float
    p95: float
    computed: float | None  # processor time of client and server, mean; None: the server is elsewhere


def questions(url: str, runs: int, seed: int) -> list[Timing]:
    """Those of docs/queries.sql, and those that commands ask about single uploads and tenants."""
    chance, known = random.Random(seed), _known(url)

    def one() -> Known:
        return chance.choice(known)

    def named(name: str) -> object:
        tenant, upload_id, _ = one()
        return history.named(name, tenant=tenant, upload_id=upload_id)

    def outcomes() -> object:
        return history.verdict_counts(pick[:2] for pick in chance.sample(known, min(500, len(known))))

    with closing(History(url)) as history, closing(Processor(url)) as processor:
        asked: dict[str, Callable[[], object]] = {name: partial(named, name) for name in named_queries()}
        asked["review_queue_of_a_tenant"] = lambda: history.review_queue(20, one()[0])
        asked["one_verdict"] = lambda: history.verdict(one()[2])
        asked["outcomes_of_500_uploads"] = outcomes
        return [_timed(name, ask, runs, processor) for name, ask in asked.items()]


def what_ifs(url: str, months: int, seed: int) -> list[Timing]:
    """`pixassay what-if` over 30 days and over everything, with other thresholds each time."""
    chance, now = random.Random(seed), datetime.now(UTC)
    month = Period(BUNDLE.id, now - timedelta(days=30), now + timedelta(days=1))
    whole = replace(month, start=now - timedelta(days=32 * months))

    def again(period: Period) -> None:
        low = chance.uniform(0.2, 0.6)
        judge_again(connection, period, Thresholds(suspicious=low, synthetic=low + 0.3))

    with maintenance(url) as connection, closing(Processor(url)) as processor:
        tenant = replace(month, tenant="tenant-1")
        spans = {"30 days of a tenant": (tenant, 5), "30 days": (month, 5), f"{months} months": (whole, 2)}
        return [
            _timed(f"what-if, {name}", partial(again, period), runs, processor)
            for name, (period, runs) in spans.items()
        ]


def _timed(name: str, ask: Callable[[], object], runs: int, processor: Processor) -> Timing:
    for _ in range(min(_WARM, runs - 1)):
        ask()
    spent, before = [], processor.spent_s()
    for _ in range(runs):
        started = time.perf_counter()
        ask()
        spent.append(1000 * (time.perf_counter() - started))
    after = processor.spent_s()
    computed = None if before is None or after is None else 1000 * (after - before) / runs
    return Timing(name, runs, float(np.percentile(spent, 50)), float(np.percentile(spent, 95)), computed)


def _known(url: str) -> list[Known]:
    """Some uploads of all months: tenant, upload_id, verdict_id."""
    query = "SELECT tenant, upload_id, verdict_id FROM verdicts TABLESAMPLE SYSTEM (:share) LIMIT 5000"
    count = "SELECT sum(reltuples) FROM pg_class WHERE relname LIKE 'verdicts_20__\\___' AND relkind = 'r'"
    with maintenance(url) as connection:
        rows = max(float(connection.scalar(sa.text(count)) or 0), 1.0)
        share = min(100.0, 100 * 4000 / rows)
        return [(one[0], one[1], one[2]) for one in connection.execute(sa.text(query), {"share": share})]
