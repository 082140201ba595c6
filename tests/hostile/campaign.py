"""Send a corpus through broker, object store, one worker process and database, and count what came of it."""

import asyncio
import os
import sys
import time
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import orjson

from stream.embedded import S3Store
from stream.embedded.process import Child
from stream.events import Upload
from stream.kafka import ensure_topics, publish
from stream.settings import Settings
from tests.harness.processes import eventually, variables
from tests.harness.seen import Database
from tests.harness.story import audited
from tests.hostile.corpus import Hostile
from tests.hostile.watch import Watch

TENANT = "hostile"
_SETTLE_S = 120.0  # without a new outcome, after which what is missing counts as missing
_VERDICTS = "select upload_id, verdict, reasons from verdicts"
_LETTERS = "select upload_id, reason from dead_letters"


@dataclass(slots=True)
class Result:
    """What came of a corpus. `ok`: an outcome a file, and the right one; one worker; memory below limits."""

    files: int
    outcomes: int
    by_reason: dict[str, int]  # reason, or verdict of what was judged -> files
    unexpected: list[str]  # files with another reason than the one that they must have
    gaps: int  # of `pixassay audit`
    worker_restarts: int
    decoders: int  # decoding processes at a time
    decoders_lost: int  # that had to be replaced
    crashes: int  # files that ended as decoder_crashed or decode_timeout
    worker_peak_mb: int
    worker_limit_mb: int  # what it held when it was ready, and max_held_mb
    decoder_peak_mb: int
    decoder_limit_mb: int
    seconds: float
    seed: int = 0
    kinds: dict[str, int] = field(default_factory=dict)

    @property
    def ok(self) -> bool:
        complete = self.files == self.outcomes and not self.unexpected and not self.gaps
        bounded = (
            self.worker_peak_mb <= self.worker_limit_mb and self.decoder_peak_mb <= self.decoder_limit_mb
        )
        return complete and bounded and not self.worker_restarts and self.decoders_lost <= self.crashes

    def as_json(self) -> dict[str, Any]:
        return {**asdict(self), "ok": self.ok}


def run(
    files: Sequence[Hostile], settings: Settings, bucket: S3Store, database: Database, folder: Path
) -> Result:
    """Every file through one worker, which is then asked to leave in order."""
    started = time.monotonic()
    names = [f"{number:05d}-{file.kind}" for number, file in enumerate(files)]
    asyncio.run(_announce(settings, _placed(files, names, bucket)))
    command = (sys.executable, "-P", "-m", "tests.hostile.worker")
    child = Child("worker", command, folder, {**os.environ, **variables(settings)}, grace_s=60)
    child.start()
    try:
        eventually(lambda: " ready: " in child.log.read_text(errors="replace"), "a worker that is ready")
        with Watch(child.pid) as watch:
            _wait_for(database, len(files))
        restarts = int(child.exit_code is not None)
    finally:
        child.stop()
    found = _outcomes(database)
    reasons = [found.get(name, ["missing"]) for name in names]
    wrong = [
        f"{name}: {', '.join(got)}"
        for name, file, got in zip(names, files, reasons, strict=True)
        if "missing" in got or (file.reason is not None and got != [file.reason])
    ]
    by_reason = Counter(reason for got in reasons for reason in got)
    return Result(
        files=len(files),
        outcomes=sum(name in found for name in names),
        by_reason=dict(sorted(by_reason.items())),
        unexpected=wrong,
        gaps=sum(len(tally["gaps"]) for tally in audited(settings)["partitions"]),
        worker_restarts=restarts,
        decoders=settings.decoders,
        decoders_lost=max(0, len(watch.decoders) - settings.decoders),
        crashes=by_reason["decoder_crashed"] + by_reason["decode_timeout"],
        worker_peak_mb=watch.worker_peak,
        worker_limit_mb=watch.worker_at_start + settings.max_held_mb,
        decoder_peak_mb=watch.decoder_peak,
        decoder_limit_mb=_DECODER_MB + settings.decode_memory_mb,
        seconds=time.monotonic() - started,
        kinds=dict(Counter(file.kind.split()[0] for file in files)),
    )


_DECODER_MB = 100  # what a decoding process holds before its first picture, its libraries included


def _placed(files: Sequence[Hostile], names: Sequence[str], bucket: S3Store) -> list[Upload]:
    """Put the files into the bucket."""

    def place(number: int) -> Upload:
        uri = bucket.put(f"in/{number:05d}.{files[number].suffix}", files[number].data)
        return Upload(upload_id=names[number], tenant=TENANT, uri=uri, uploaded_at=datetime.now(UTC))

    with ThreadPoolExecutor(8) as threads:
        return list(threads.map(place, range(len(files))))


async def _announce(settings: Settings, uploads: Sequence[Upload]) -> None:
    await ensure_topics(settings)
    records = ((item.upload_id.encode(), item.to_bytes()) for item in uploads)
    await publish(settings, settings.topic_uploads, records)


def _wait_for(database: Database, count: int) -> None:
    there, moved = 0, time.monotonic()
    while there < count and time.monotonic() - moved < _SETTLE_S:
        time.sleep(0.25)
        before, there = there, database.rows() + database.letters()
        moved = time.monotonic() if there > before else moved


def _outcomes(database: Database) -> dict[str, list[str]]:
    """upload_id -> its reasons, or the verdict where it was judged."""
    printed = database.ask(f"select json_agg(v) from ({_VERDICTS}) v")
    rows = orjson.loads(printed.strip() or b"[]") or []
    unjudged = ("unable_to_evaluate", "not_applicable")
    found = {row["upload_id"]: row["reasons"] if row["verdict"] in unjudged else ["judged"] for row in rows}
    letters = orjson.loads(database.ask(f"select json_agg(d) from ({_LETTERS}) d").strip() or b"[]") or []
    return {**found, **{row["upload_id"]: [row["reason"]] for row in letters}}
