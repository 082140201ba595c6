"""Insert rate through the service's own store, and how long upkeep holds up inserts."""

import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from uuid import uuid4

import numpy as np
import sqlalchemy as sa

from stream.database import maintenance
from stream.partitions import create_partitions, month_after
from stream.retention import Removal, cutoff, remove
from stream.store import Store
from stream.types import Outcome
from tests.bench_sql.processor import Processor
from tests.outcomes import BUNDLE, POLICY, outcome

BATCH = 256


@dataclass(frozen=True, slots=True)
class Rate:
    """Batches of 256 through Store.write."""

    rows: int
    rows_s: float
    p50_ms: float  # a batch
    p95_ms: float
    longest_ms: float
    # Processor time of client and server within Store.write, a batch; None: the server is elsewhere.
    computed_ms: float | None = None


@dataclass(frozen=True, slots=True)
class Work:
    """Something done to the tables while batches were stored."""

    name: str
    seconds: float
    longest_insert_ms: float  # of the batches that were under way meanwhile


@dataclass(slots=True)
class Writer:
    """Stores batches as fast as it can, and keeps (start, end) of each, in seconds, and its own processor
    time."""

    url: str
    spans: list[tuple[float, float]] = field(default_factory=list)
    computed_s: list[float] = field(default_factory=list)

    def run(self, stop: threading.Event) -> None:
        with closing(Store(self.url)) as store:
            store.open(BUNDLE, POLICY)
            while not stop.is_set():
                batch = _batch(len(self.spans))
                started, computed = time.perf_counter(), time.thread_time()
                stored = store.write(batch)
                self.computed_s.append(time.thread_time() - computed)
                self.spans.append((started, time.perf_counter()))
                if stored != batch:
                    raise AssertionError("a batch was not stored as it was")

    def rate(self, start: float, end: float) -> Rate:
        spent = np.array([stop - begin for begin, stop in self.spans if begin >= start and stop <= end])
        rows = BATCH * len(spent)
        p50, p95, longest = (float(1000 * one) for one in (*np.percentile(spent, [50, 95]), spent.max()))
        return Rate(rows, rows / float(spent.sum()), p50, p95, longest)

    def longest(self, start: float, end: float) -> float:
        return 1000 * max(stop - begin for begin, stop in self.spans if begin <= end and stop >= start)


def inserts(url: str, seconds: float) -> Rate:
    """What one writer stores with nothing else going on."""
    with closing(Processor(url)) as processor, _writing(url) as writer:
        time.sleep(min(5.0, seconds))  # connected, statements prepared
        started, before, first = time.perf_counter(), processor.server_s(), len(writer.spans)
        time.sleep(seconds)
        ended, after, last = time.perf_counter(), processor.server_s(), len(writer.spans)
    rate = writer.rate(started, ended)
    if before is None or after is None:
        return rate
    client = sum(writer.computed_s[first:last])
    return replace(rate, computed_ms=1000 * (client + after - before) / (last - first))


def upkeep(url: str, months: int, waiting: int) -> list[Work]:
    """Months made, with `waiting` rows in the default partition for the last of them, and months dropped."""
    today = datetime.now(UTC).date()
    late = month_after(today, 6)
    _early_rows(url, waiting, datetime(late.year, late.month, 2, tzinfo=UTC))
    # The oldest month is a part of one: the next is whole.
    steps: dict[str, Callable[[sa.Connection], object]] = {
        "make 4 months": lambda at: create_partitions(at, today, months=5),
        f"make a month whose {waiting:,} rows came before it": lambda at: create_partitions(at, today, 6),
        "drop the oldest month, a part of one": lambda at: remove(at, cutoff(today, months - 1)),
        "drop the next month, a whole one": lambda at: remove(at, cutoff(today, months - 2)),
    }
    done = []
    with maintenance(url) as connection, _writing(url) as writer:
        for name, step in steps.items():
            time.sleep(1)
            started = time.perf_counter()
            result = step(connection)
            ended = time.perf_counter()
            time.sleep(0.5)  # for the batch that was under way
            if isinstance(result, Removal):
                left = started + result.left_s
                done.append(Work(f"{name}: it left", result.left_s, writer.longest(started, left)))
                name = f"{name}: all deleted"
            done.append(Work(name, ended - started, writer.longest(started, ended)))
    return done


@contextmanager
def _writing(url: str) -> Iterator[Writer]:
    writer, stop = Writer(url), threading.Event()
    with ThreadPoolExecutor(1) as pool:
        done = pool.submit(writer.run, stop)
        try:
            yield writer
        finally:
            stop.set()
        done.result()


def _batch(number: int) -> list[Outcome]:
    """New uploads of this moment, one in fifty of them flagged."""
    now, word = datetime.now(UTC), uuid4().hex
    return [
        replace(
            outcome(
                f"{word}-{n}",
                BATCH * number + n,
                tenant=f"tenant-{int(40 * (n / BATCH) ** 3)}",
                uploader_id=f"user-{n}",
                uploaded_at=now - timedelta(seconds=5),
                decided_at=now,
                verdict="suspicious" if n % 50 == 0 else "authentic",
                score=0.6 if n % 50 == 0 else 0.1,
            )
        )
        for n in range(BATCH)
    ]


def _early_rows(url: str, count: int, at: datetime) -> None:
    """Rows whose month has no partition yet, as a wrong clock or a forgotten upkeep leaves them."""
    with closing(Store(url)) as store:
        store.open(BUNDLE, POLICY)
        for first in range(0, count, BATCH):
            store.write(
                [outcome(f"early-{first + n}", uploaded_at=at) for n in range(min(BATCH, count - first))]
            )
