"""One run of the whole service, with a crash in the middle, and what was seen of it on the way."""

import asyncio
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from stream.kafka import ensure_topics, publish
from stream.settings import Settings
from tests.harness.processes import WorkerProcess, eventually, pixassay, runs
from tests.harness.scene import Scene
from tests.harness.seen import Database
from tests.harness.traffic import Traffic

UPLOADS = 2_000
CRASH_AT = 0.25  # share of the rows that are there when the worker is killed


@dataclass(frozen=True, slots=True)
class Crash:
    """What there was between the kill and the restart."""

    rows: int
    audit: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Label:
    """A reviewer's decision on its way from the command line to the table."""

    upload: Mapping[str, Any]  # the line of the review queue
    still_queued: bool
    stored: str  # its row of `reviews`


@dataclass(frozen=True, slots=True)
class Story:
    """Everything that the tests look at."""

    settings: Settings
    scene: Scene
    database: Database
    traffic: Traffic
    crash: Crash
    doctor: list[Mapping[str, Any]]
    announced: int  # uploads that `pixassay upload` announced, in the end
    label: Label
    exit_code: int
    log: str
    audit: Mapping[str, Any]


def play(settings: Settings, scene: Scene, database: Database, folder: Path) -> Story:
    """Send, kill, look, restart, use the commands, stop."""
    traffic = scene.sender(seed=1).traffic(UPLOADS)
    asyncio.run(_send(settings, traffic))
    crash = _crash(settings, database, folder)
    worker = WorkerProcess(settings, folder, "second")
    worker.start()
    try:
        doctor = [json.loads(line) for line in pixassay(settings, "doctor", "--json").stdout.splitlines()]
        _all_are_there(database, len(traffic.uploads), traffic.bad)
        announced = _upload(settings, folder)
        _all_are_there(database, len(traffic.uploads) + announced, traffic.bad)
        label = _label(settings, database)
        exit_code = worker.leave()
    finally:
        worker.stop()
    audit = audited(settings)
    return Story(
        settings, scene, database, traffic, crash, doctor, announced, label, exit_code, worker.log, audit
    )


def audited(settings: Settings) -> Mapping[str, Any]:
    """What `pixassay audit --flags --json` prints; its exit status must agree with it."""
    done = pixassay(settings, "audit", "--flags", "--json")
    assert done.returncode in (0, 1), done.stderr
    report: Mapping[str, Any] = json.loads(done.stdout)
    assert report["ok"] == (done.returncode == 0)
    return report


async def _send(settings: Settings, traffic: Traffic) -> None:
    await ensure_topics(settings)
    await publish(settings, settings.topic_uploads, traffic.records)


def _crash(settings: Settings, database: Database, folder: Path) -> Crash:
    worker = WorkerProcess(settings, folder, "first")
    worker.start()
    try:
        eventually(lambda: database.rows() >= CRASH_AT * UPLOADS, "a quarter of the rows", pause_s=0.2)
        decoders = worker.decoders()
        assert decoders
        worker.kill()
    finally:
        worker.stop()
    eventually(
        lambda: not any(map(runs, decoders)),
        "the end of the decoding processes after their worker's",
        timeout_s=10,
    )
    return Crash(database.rows(), audited(settings))


def _all_are_there(database: Database, rows: int, letters: int) -> None:
    eventually(
        lambda: (database.rows(), database.letters()) == (rows, letters),
        f"{rows} rows and {letters} dead letters",
        pause_s=0.2,
    )


def _upload(settings: Settings, folder: Path) -> int:
    done = pixassay(settings, "upload", str(folder / "own"), "--tenant", "cli", "--uploader", "eve")
    assert done.returncode == 0, done.stderr
    return int(done.stdout.split()[1])


def _label(settings: Settings, database: Database) -> Label:
    done = pixassay(settings, "review", "next", "--limit", "1", "--json")
    upload = json.loads(done.stdout)
    decided = pixassay(settings, "review", "label", upload["verdict_id"], "authentic", "--reviewer", "ana")
    assert decided.returncode == 0, decided.stderr
    eventually(lambda: database.ask("select count(*) from reviews") == "1\n", "the label in its table")
    queued = database.ask(f"select count(*) from review_queue where verdict_id = '{upload['verdict_id']}'")
    stored = database.ask("select verdict_id, decision, reviewer from reviews")
    return Label(upload, queued != "0\n", stored.strip())
