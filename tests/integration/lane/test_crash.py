"""kill -9 of a whole worker process, on real parts: broker, Postgres, files, decoding processes, engine."""

import asyncio
import os
import signal
import sys
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import numpy as np
import psycopg
import pytest
from PIL import Image

from models.bundle import Bundle
from stream.audit import Report, audit
from stream.commands.worker import announcements
from stream.embedded.process import Child
from stream.events import Review
from stream.kafka import publish
from stream.ledger import Ledger
from stream.settings import PREFIX, Settings
from tests.fakes import until
from tests.integration.lane.harness import values

UPLOADS = 200


def pictures(folder: Path) -> list[Path]:
    """Small real files, all different; the last one is no picture."""
    random, made = np.random.default_rng(7), []
    for number in range(UPLOADS - 1):
        pixels = random.integers(0, 256, (96, 96, 3), np.uint8)
        made.append(folder / f"picture{number}.png")
        Image.fromarray(pixels).save(made[-1])
    made.append(folder / "broken.png")
    made[-1].write_bytes(b"not a picture")
    return made


@contextmanager
def worker(settings: Settings, folder: Path) -> Iterator[Child]:
    """`pixassay worker` as people start it."""
    fields = settings.model_dump(mode="json", exclude_unset=True)
    fields["database_url"] = settings.database_url.get_secret_value()
    fields["file_roots"] = ",".join(str(root) for root in settings.file_roots)
    variables = {f"{PREFIX}{name.upper()}": str(value) for name, value in fields.items()}
    command = (sys.executable, "-P", "-m", "stream", "worker")
    child = Child("worker", command, folder, {**os.environ, **variables}, grace_s=30)
    child.start()
    try:
        yield child
    finally:
        child.stop()


def rows(settings: Settings) -> int:
    with psycopg.connect(settings.database_url.get_secret_value()) as connection:
        found = connection.execute("select count(*) from verdicts").fetchone()
    assert found
    return int(found[0])


def flagged(settings: Settings) -> set[str]:
    query = "select verdict_id::text from verdicts where verdict in ('suspicious', 'synthetic')"
    with psycopg.connect(settings.database_url.get_secret_value()) as connection:
        return {str(row[0]) for row in connection.execute(query)}


async def audited(settings: Settings) -> Report:
    with closing(Ledger(settings.database_url.get_secret_value())) as ledger:
        return await audit(settings, ledger, settings.topic_uploads, 0, None)


@pytest.fixture
def real(settings: Settings, database_url: str, tiny_bundle: Bundle, tmp_path: Path) -> Settings:
    """A worker's settings with nothing left out; commits seldom, so that a kill leaves much to repeat."""
    changes = {
        "database_url": database_url,
        "bundle": tiny_bundle.path,
        "file_roots": (tmp_path,),
        "commit_interval_s": 1.0,
        "decoders": 1,
        "threads": 1,
    }
    return Settings.model_validate({**settings.model_dump(exclude_unset=True), **changes})


async def test_killed_twice_nothing_is_lost_and_nothing_doubled(real: Settings, tmp_path: Path) -> None:
    uploads = list(announcements(real, pictures(tmp_path), "t", "u", "file"))
    await publish(real, real.topic_uploads, ((item.upload_id.encode(), item.to_bytes()) for item in uploads))
    await publish(real, real.topic_uploads, [(b"k", b"{broken")])
    for share in (0.2, 0.6):
        with worker(real, tmp_path) as child:
            await until(lambda: rows(real) >= share * UPLOADS, seconds=90)  # noqa: B023 - used at once
            await asyncio.to_thread(child.kill)
        between = await audited(real)
        assert between.ok
        assert sum(tally.in_flight for tally in between.partitions) > 0
    with worker(real, tmp_path) as child:
        await until(lambda: rows(real) == UPLOADS, seconds=90)
        await asyncio.sleep(2 * real.commit_interval_s)
        child.stop()
    report = await audited(real)
    assert report.ok
    assert sum(tally.verdicts for tally in report.partitions) == UPLOADS
    assert sum(tally.dead_letters for tally in report.partitions) == 1
    assert sum(tally.in_flight for tally in report.partitions) == 0
    reviews = [Review.model_validate_json(value) for value in await values(real, real.topic_review)]
    assert {review.verdict_id for review in reviews} == flagged(real)


async def test_it_says_when_it_is_ready_and_leaves_in_order(real: Settings, tmp_path: Path) -> None:
    with worker(real, tmp_path) as child:
        await until(lambda: "ready: bundle" in child.log.read_text(), seconds=90)
        os.kill(child.pid, signal.SIGTERM)
        await until(lambda: child.exit_code is not None)
        assert child.exit_code == 0
    assert "stopped: 0 outcomes" in child.log.read_text()


async def test_it_does_not_start_with_a_wrong_setting(real: Settings, tmp_path: Path) -> None:
    wrong = real.model_copy(update={"bundle": tmp_path / "nowhere"})
    with worker(wrong, tmp_path) as child:
        await until(lambda: child.exit_code is not None, seconds=60)
        assert child.exit_code == 2
    assert "nowhere" in child.last_words()
