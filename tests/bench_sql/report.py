"""What was measured, for people: the table of docs/history.md."""

import platform
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import date
from pathlib import Path

from tests.bench_sql.queries import Timing
from tests.bench_sql.upkeep import BATCH, Rate, Work

START, END = "<!-- bench-sql: made by `make bench-sql`, not by hand -->", "<!-- /bench-sql -->"


@dataclass(frozen=True, slots=True)
class Report:
    """All that one run measured."""

    day: date
    server: str
    load: float  # average of the 15 minutes before the end
    rows: int
    months: int
    seed: int
    fill_s: float | None  # None: filled by an earlier run
    bytes: int
    questions: list[Timing]
    what_ifs: list[Timing]
    inserts: Rate
    upkeep: list[Work]
    recount_s: float


def markdown(report: Report) -> str:
    """The report as Markdown."""
    inserts = report.inserts
    machine = (
        f"{report.day}, {_processor()}, load average of the last quarter of an hour {report.load:.1f}; "
        f"{report.server}, all in the page cache, client on the same machine. {report.rows:,} verdicts over "
        f"{report.months} months (seed {report.seed}), {report.bytes / 2**30:.1f} GiB with indexes"
    )
    filled = f", filled in {report.fill_s:.0f} s." if report.fill_s is not None else "."
    stored = (
        f"One writer, batches of 256 through `Store.write`: **{inserts.rows_s:,.0f} rows/s** "
        f"({inserts.rows:,} rows; a batch {inserts.p50_ms:.0f} ms p50, {inserts.p95_ms:.0f} ms p95, "
        f"{inserts.longest_ms:.0f} ms at most).{_alone(inserts)}"
    )
    counted = (
        f"Counting all rows by day again, as the upgrade to revision 0004 does once while writers wait: "
        f"{report.recount_s:.1f} s."
    )
    asked = _table(("question", "runs", "p50 ms", "p95 ms", "computed ms"), map(_timing, report.questions))
    again = _table(("report", "runs", "p50 ms", "p95 ms", "computed ms"), map(_timing, report.what_ifs))
    works = ((one.name, f"{one.seconds:.2f}", f"{one.longest_insert_ms:.0f}") for one in report.upkeep)
    done = _table(("while one writer goes on", "seconds", "longest insert ms"), works)
    return "\n\n".join((machine + filled, asked, again, stored, done, counted))


def write_into(page: Path, report: Report) -> None:
    """Put the report between the page's markers. Raises ValueError where they are missing."""
    text = page.read_text("utf-8")
    head, found, rest = text.partition(START)
    _, ended, tail = rest.partition(END)
    if not (found and ended):
        raise ValueError(f"{page} has no place for the report: {START} and {END} were expected")
    page.write_text(f"{head}{START}\n\n{markdown(report)}\n\n{END}{tail}", "utf-8")


def _timing(timing: Timing) -> tuple[str, ...]:
    computed = "-" if timing.computed is None else f"{timing.computed:.1f}"
    return timing.name, str(timing.runs), f"{timing.p50:.1f}", f"{timing.p95:.1f}", computed


def _alone(inserts: Rate) -> str:
    if inserts.computed_ms is None:
        return ""
    rate = 1000 * BATCH / inserts.computed_ms
    return (
        f" Client and server compute {inserts.computed_ms:.0f} ms a batch: with a core to "
        f"itself the writer would reach {rate:,.0f} rows/s, less what it waits for the disk."
    )


def _table(head: Iterable[str], rows: Iterable[Iterable[str]]) -> str:
    head = tuple(head)
    lines = [head, ("---", *("---:" for _ in head[1:])), *rows]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)


def _processor() -> str:
    info = Path("/proc/cpuinfo")
    lines = info.read_text("utf-8").splitlines() if info.exists() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return f"{len(names)} cores of {names[0]}" if names else platform.machine()
