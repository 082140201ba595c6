"""What the demonstration prints: parts, progress, verdicts, the review queue and where to look next."""

import shlex
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeElapsedColumn
from rich.table import Table
from rich.text import Text

from models.bundle import Bundle
from stream.demo_pictures import Picture
from stream.demo_results import VERDICTS, Item, Results
from stream.demo_worker import Watch
from stream.embedded import Stack
from stream.queries import NamedQuery

_STYLES = {
    "synthetic": "bold red",
    "suspicious": "yellow",
    "authentic": "green",
    "not_applicable": "dim",
    "unable_to_evaluate": "dim",
}
_ROWS = 12  # of the table of single verdicts
_QUEUE = 5  # messages of the review queue
_LINE_S = 2.0  # between two lines of progress in a log


class Screen:
    """Prints for people. A log file gets lines instead of a moving bar."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._began = time.monotonic()

    def opening(self, bundle: Bundle, pictures: list[Picture]) -> None:
        real = sum(picture.label == "real" for picture in pictures)
        ai = sum(picture.label == "ai" for picture in pictures)
        other = len(pictures) - real - ai
        self._say("[bold]pixassay demo[/bold]")
        self._say(f"  bundle        {bundle.manifest.name} ({bundle.id})")
        self._say(f"  pictures      {real} photographs, {ai} AI pictures, {other} others")

    def parts(self, stack: Stack) -> None:
        for kind, version in stack.parts.items():
            self._say(f"  {kind:<13} {version}")
        self._say(f"  ready after {time.monotonic() - self._began:.1f} s; the worker loads its detectors\n")

    def warn(self, warnings: list[str]) -> None:
        for warning in warnings:
            self._console.print(f"database: {warning}", style="yellow", markup=False)

    @contextmanager
    def watching(self) -> Iterator["Bar"]:
        """A bar of outcomes while the worker judges."""
        columns = (
            TextColumn("  judged"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            TextColumn("{task.fields[counts]}"),
        )
        with Progress(*columns, console=self._console, disable=not self._console.is_terminal) as progress:
            yield Bar(self._console, progress, progress.add_task("", total=None, counts=""))

    def verdicts(self, results: Results) -> None:
        """How many of which label got which verdict, then single pictures."""
        self._say("")
        self._console.print(_summary(results))
        for label, words in (("ai", "AI pictures"), ("real", "photographs")):
            flagged, count = results.share_flagged(label)
            if count:
                self._say(f"  {flagged} of {count} {words} were flagged as suspicious or synthetic.")
        self._say("  The bundle's card says what these figures mean and what they do not; see the report.\n")
        self._console.print(_single(results.items))

    def queue(self, results: Results) -> None:
        """The first messages of the review topic."""
        self._say(
            f"\n[bold]Review queue[/bold]: {len(results.reviews)} messages consumed from Kafka; the first:"
        )
        for message in results.reviews[:_QUEUE]:
            line = f"  {message['score']:.3f} {message['verdict']:<10} {message['upload_id']}"
            self._console.print(line, markup=False, highlight=False)

    def audit(self, results: Results) -> None:
        """Whether every record has its outcome."""
        found, sums = results.audit, results.totals
        verdict = "[green]no gap[/green]" if found.ok else "[red]there are gaps[/red]"
        self._say(
            f"\n[bold]Audit[/bold]: {sums['records']} records with {sums['uploads']} uploads = "
            f"{sums['verdicts']} verdicts + {sums['dead_letters']} dead letters "
            f"+ {sums['in_flight']} in flight; "
            f"{len(found.gaps)} lost, {len(found.doubled)} stored twice: {verdict}"
        )

    def closing(self, results: Results, report: Path, queries: list[NamedQuery], keep: bool) -> None:
        """Where to look, and the SQL to ask it again."""
        count = len(results.items)
        rate = count / results.seconds
        self._say(f"  {count} verdicts in {results.seconds:.1f} s ({rate:.1f} a second), loading included")
        self._say("\n[bold]Ask it again in SQL[/bold] (all questions: docs/queries.sql)")
        for query in queries:
            self._console.print(
                f"  -- {query.question}\n{_indent(query.sql)}", markup=False, highlight=False, soft_wrap=True
            )
        if not keep:
            self._say("  The database went with the demonstration; `pixassay demo --keep` holds it up.")
        self._say(f"\n[bold]Report[/bold]  {report}")
        self._say(f"        {report.with_name('verdicts.jsonl')}, {report.with_name('review.jsonl')}")

    def holding(self, stack: Stack) -> None:
        """How to reach the running parts from another terminal."""
        self._say("\nThe servers and a worker stay up until Ctrl-C. In another terminal:\n")
        for name, value in stack.variables.items():
            self._console.print(f"  export {name}={shlex.quote(value)}", markup=False, soft_wrap=True)
        psql = shlex.quote(str(stack.postgres.psql)) if stack.postgres else "psql"
        self._console.print(f'\n  {psql} "$PIXASSAY_DATABASE_URL"', markup=False, soft_wrap=True)
        self._say("  pixassay review next")

    def _say(self, text: str) -> None:
        self._console.print(text, highlight=False, soft_wrap=True)


class Bar:
    """The moving bar, or a line whenever the count changes where nothing can move."""

    def __init__(self, console: Console, progress: Progress, task: TaskID) -> None:
        self._console, self._progress, self._task = console, progress, task
        self._shown, self._next_line = -1, 0.0

    def show(self, watch: Watch) -> None:
        counts = ", ".join(
            f"{number} {name.replace('_', ' ')}" for name, number in watch.counts.items() if number
        )
        self._progress.update(self._task, completed=watch.done, total=watch.expected, counts=counts)
        if self._console.is_terminal or watch.done == self._shown:
            return
        if watch.done == watch.expected or time.monotonic() >= self._next_line:
            self._console.print(
                f"  {watch.done} of {watch.expected}  {counts}", highlight=False, soft_wrap=True
            )
            self._shown, self._next_line = watch.done, time.monotonic() + _LINE_S


def _summary(results: Results) -> Table:
    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column("  ")
    for verdict in VERDICTS:
        table.add_column(verdict.replace("_", " "), justify="right", style=_STYLES[verdict])
    for label, words in (("ai", "  AI pictures"), ("real", "  photographs"), (None, "  others")):
        found = [item.verdict for item in results.items if item.sent.picture.label == label]
        if found:
            table.add_row(words, *(str(found.count(verdict)) for verdict in VERDICTS))
    if results.letters:
        table.caption = f"and {len(results.letters)} records that are dead letters"
        table.caption_justify = "left"
    return table


def _single(items: list[Item]) -> Table:
    """The highest scores, and everything that could not be judged."""
    judged = sorted((item for item in items if item.row["score"] is not None), key=lambda i: -i.row["score"])
    unjudged = [item for item in items if item.row["score"] is None]
    table = Table(box=None, pad_edge=False, header_style="bold", title_justify="left")
    table.add_column("  score", justify="right", min_width=7)
    table.add_column("verdict", min_width=18)
    table.add_column("picture", overflow="ellipsis", no_wrap=True, max_width=28)
    table.add_column("what it is", overflow="ellipsis", no_wrap=True, min_width=20)
    for item in [*judged[:_ROWS], *unjudged[:_ROWS]]:
        score = "-" if item.row["score"] is None else f"{item.row['score']:.3f}"
        verdict = Text(item.verdict.replace("_", " "), style=_STYLES[item.verdict])
        picture = item.sent.picture
        why = f"{item.row['reasons'][0]}: {picture.origin}" if score == "-" else picture.origin
        table.add_row(score, verdict, Text(picture.name), Text(why))
    return table


def _indent(sql: str) -> str:
    return "\n".join(f"  {line}" for line in sql.splitlines())
