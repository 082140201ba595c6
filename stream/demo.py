"""The demonstration: real pictures through a real broker, a real worker and a real database."""

import asyncio
import signal
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console

from models.bundle import Bundle, load_bundle
from stream import audit as auditing
from stream.database import upgrade
from stream.demo_pictures import Picture, hostile_files, packaged_pictures, pictures_below, spread
from stream.demo_results import Results, join, own_messages, write_files
from stream.demo_screen import Screen
from stream.demo_upload import TENANT, Sent, bad_records, event, gone, new_run, put_all
from stream.demo_worker import Watch, worker_process
from stream.embedded import Stack, embedded_stack
from stream.embedded.places import temporary_folder
from stream.embedded.process import Child
from stream.embedded.stack import StoreKind
from stream.kafka import Record, end_offsets, ensure_topics, publish, read_range
from stream.ledger import Ledger
from stream.policy import load_policy
from stream.queries import named_queries
from stream.report import write_report
from stream.settings import Settings

BUCKET = "pixassay-demo"
QUERIES = ("verdicts_of_the_last_day", "most_suspected_uploaders")


@dataclass(frozen=True, slots=True)
class Options:
    """What the command line asks for."""

    images: Path | None  # None: the pictures of the installed packages
    output: Path
    limit: int | None  # most pictures; None: all
    keep: bool  # hold the servers up at the end
    store: StoreKind


def run(settings: Settings, options: Options, console: Console) -> bool:
    """Run it all and write the report. Returns whether the audit found an outcome for every record.

    Raises PixassayError or BundleError, one sentence each, where a part is missing or fails.
    """
    screen = Screen(console)
    bundle = load_bundle(settings.bundle)
    pictures = choose(options)
    screen.opening(bundle, pictures)
    with embedded_stack(settings, BUCKET, options.store) as stack, temporary_folder("worker") as folder:
        screen.warn(upgrade(stack.settings.database_url.get_secret_value()))
        screen.parts(stack)
        worker = worker_process(folder, stack)
        results = judge(stack, bundle, pictures, options, worker, screen)
        write_files(options.output, results)
        queries = [named_queries()[name] for name in QUERIES]
        limits = load_policy(settings.policy, bundle.manifest).thresholds(TENANT)
        report = write_report(options.output / "report.html", results, stack.parts, limits, queries)
        screen.verdicts(results)
        screen.queue(results)
        screen.audit(results)
        screen.closing(results, report, queries, options.keep)
        if options.keep:
            hold(worker, stack, screen)
    return results.audit.ok


def hold(worker: Child, stack: Stack, screen: Screen) -> None:
    """Keep everything running until Ctrl-C."""
    with running(worker), suppress(KeyboardInterrupt):
        screen.holding(stack)
        signal.pause()


def choose(options: Options) -> list[Picture]:
    """The pictures to upload, mixed. Hostile files go with those of the packages only."""
    if options.images is not None:
        return pictures_below(options.images)[: options.limit]
    return spread(packaged_pictures()[: options.limit], hostile_files())


def judge(
    stack: Stack, bundle: Bundle, pictures: list[Picture], options: Options, worker: Child, screen: Screen
) -> Results:
    """Upload, announce, watch the worker judge, and collect what it left behind."""
    settings, name = stack.settings, new_run()
    with closing(Ledger(settings.database_url.get_secret_value())) as history, running(worker):
        sent, bad = send(stack, pictures, options, name)  # while the worker loads
        known = {row["id"] for row in history.dead_letters(limit=100_000)}
        started = time.monotonic()
        review_from = asyncio.run(_announce(settings, sent, bad))
        watch = Watch(history, bundle.id, sent, len(bad), known)
        with screen.watching() as bar:
            watch.until_done(worker, bar.show)
        seconds = time.monotonic() - started
        worker.stop()  # drained: every flag is published, every offset committed
        messages = own_messages(asyncio.run(_since(settings, review_from)), name)
        found = asyncio.run(auditing.audit(settings, history, settings.topic_uploads, 0, None))
    return Results(name, bundle, join(sent, watch.rows), watch.letters, messages, found, seconds)


def send(
    stack: Stack, pictures: list[Picture], options: Options, name: str
) -> tuple[list[Sent], list[bytes]]:
    """Put the pictures into the store. Returns the uploads, and the records that cannot be read."""
    sent = list(put_all(stack.store, pictures, options.output, name))
    if options.images is not None:
        return sent, []
    return [*sent, gone(stack.store, options.output, name)], bad_records(name)


@contextmanager
def running(worker: Child) -> Iterator[None]:
    """The worker runs inside, and has drained and committed after."""
    worker.start()
    try:
        yield
    finally:
        worker.stop()


async def _announce(settings: Settings, sent: list[Sent], bad: list[bytes]) -> dict[int, int]:
    """Publish all events. Returns where the review topic ended before."""
    await ensure_topics(settings)
    review_from = await end_offsets(settings, settings.topic_review)
    events = [event(item.upload) for item in sent]
    await publish(settings, settings.topic_uploads, [*events, *((None, value) for value in bad)])
    return review_from


async def _since(settings: Settings, starts: dict[int, int]) -> list[Record]:
    """The review messages that came after these offsets."""
    ends = await end_offsets(settings, settings.topic_review)
    return [
        record
        for partition, start in sorted(starts.items())
        async for record in read_range(settings, settings.topic_review, partition, start, ends[partition])
    ]
