"""`python -m tests.bench_sql`: fill an own Postgres with verdicts, and measure queries, inserts, upkeep.

10 million rows take about 8 GB below the folder for temporary files, and a quarter of an hour.
"""

import argparse
import os
import sys
import time
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import orjson
import sqlalchemy as sa

from stream.database import maintenance, upgrade
from stream.embedded import Postgres
from tests.bench_sql.fill import fill, settle
from tests.bench_sql.queries import questions, what_ifs
from tests.bench_sql.report import Report, markdown, write_into
from tests.bench_sql.upkeep import inserts, upkeep

# As an operator would set it for a table of this size on 4 GB of memory for Postgres; all else is default.
_SETTINGS = {"shared_buffers": "1GB", "max_wal_size": "4GB", "maintenance_work_mem": "256MB"}
_RECOUNT = """
    SELECT count(*) FROM (
        SELECT
            (decided_at AT TIME ZONE 'UTC')::date AS day, count(*), count(score), sum(score), sum(latency_ms)
        FROM verdicts GROUP BY day, tenant, bundle, policy, verdict
    ) AS counted
"""


def main() -> None:
    """Run it, print the report (JSON or Markdown), and write it into a page where asked."""
    parser = argparse.ArgumentParser(prog="python -m tests.bench_sql", description=__doc__)
    parser.add_argument("--rows", type=int, default=10_000_000)
    parser.add_argument("--months", type=int, default=12, choices=range(3, 121), metavar="3..120")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--runs", type=int, default=200, help="of each question")
    parser.add_argument("--seconds", type=float, default=20.0, help="of inserting")
    parser.add_argument("--database", help="URI of a database to measure; filled first where it is empty")
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--write", type=Path, help="page with markers for the report")
    options = parser.parse_args()
    if options.database:
        report = _measure(options.database, options)
    else:
        with Postgres(_SETTINGS) as server:
            report = _measure(server.url(), options)
    if options.write:
        write_into(options.write, report)
    told = orjson.dumps(asdict(report)).decode() if options.json else markdown(report)
    sys.stdout.write(told + "\n")


def _measure(url: str, options: argparse.Namespace) -> Report:
    upgrade(url)
    filled = _filled(url, options)
    size, recount_s = int(_ask(url, "SELECT pg_database_size(current_database())")), _recount(url)
    asked = questions(url, options.runs, options.seed)
    _tell("questions asked")
    again = what_ifs(url, options.months, options.seed)
    _tell("judged again")
    stored = inserts(url, options.seconds)
    _tell("batches stored")
    done = upkeep(url, options.months, waiting=max(options.rows // 100, 256))
    return Report(
        day=datetime.now(UTC).date(),
        server=f"Postgres {_ask(url, 'SHOW server_version')}, fsync {_ask(url, 'SHOW fsync')}",
        load=os.getloadavg()[2],
        rows=options.rows,
        months=options.months,
        seed=options.seed,
        fill_s=filled,
        bytes=size,
        questions=asked,
        what_ifs=again,
        inserts=stored,
        upkeep=done,
        recount_s=recount_s,
    )


def _filled(url: str, options: argparse.Namespace) -> float | None:
    """Seconds that it took, or None where there were rows before."""
    if _ask(url, "SELECT EXISTS (SELECT FROM verdicts)"):
        return None
    started = time.monotonic()
    fill(url, options.rows, options.months, options.seed, _tell)
    spent = time.monotonic() - started
    settle(url)
    return spent


def _ask(url: str, query: str) -> Any:
    with maintenance(url) as connection:
        return connection.scalar(sa.text(query))


def _recount(url: str) -> float:
    with maintenance(url) as connection:
        connection.execute(sa.text("SET statement_timeout = 0"))
        started = time.monotonic()
        connection.execute(sa.text(_RECOUNT))
        return time.monotonic() - started


def _tell(what: str) -> None:
    sys.stderr.write(f"{datetime.now(UTC):%H:%M:%S} {what}\n")


if __name__ == "__main__":
    main()
