"""One tenant's bucket accepts requests and never answers: real worker, S3 server, broker and database."""

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import psycopg
import pytest

from models.bundle import Bundle
from stream.embedded import S3Store, SeaweedFS, Tansu
from stream.events import Upload
from stream.kafka import ensure_topics, publish
from stream.settings import Settings
from tests.harness.gate import BucketGate
from tests.harness.pictures import pictures
from tests.harness.processes import WorkerProcess, variables
from tests.harness.scene import worker_settings
from tests.integration.lane.harness import until_all_committed
from tests.integration.test_history_commands import run

SICK = 30  # uploads to the bucket that stalls: more than a worker of these settings has places


def uploads(store: S3Store, tenant: str, count: int) -> list[Upload]:
    """Real pictures in the bucket."""
    found = [one for one in pictures() if one.judged]
    named = [(f"{number}", found[number % len(found)].data) for number in range(count)]
    return [
        Upload(upload_id=name, tenant=tenant, uri=store.put(name, data), uploaded_at=datetime.now(UTC))
        for name, data in named
    ]


async def until(reached: Callable[[], Awaitable[bool]], seconds: float = 60) -> None:
    async with asyncio.timeout(seconds):
        while not await reached():  # noqa: ASYNC110 - the states looked at have no event
            await asyncio.sleep(0.2)


@dataclass(frozen=True, slots=True)
class Stage:
    """A worker that reads two tenants' buckets through a gate, which is shut for one of them."""

    settings: Settings
    gate: BucketGate
    worker: WorkerProcess
    sick: list[Upload]
    sound: list[Upload]

    async def is_there(self, table: str, tenant: str, wanted: int) -> bool:
        url = self.settings.database_url.get_secret_value()
        return await asyncio.to_thread(rows, url, table, tenant) == wanted

    async def announce(self, wanted: Sequence[Upload]) -> None:
        records = [(None, one.to_bytes()) for one in wanted]
        await publish(self.settings, self.settings.topic_uploads, records)

    async def told(self, capsys: pytest.CaptureFixture[str], *words: str) -> str:
        """What a command prints, which must succeed."""
        assert await asyncio.to_thread(run, *words) == 0
        return capsys.readouterr().out


@pytest.fixture
async def stage(
    tansu: Tansu,
    seaweedfs: SeaweedFS,
    tiny_bundle: Bundle,
    database_url: str,
    unique: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> AsyncIterator[Stage]:
    sick = uploads(seaweedfs.bucket(f"{unique}-sick"), "sick", SICK)
    sound = uploads(seaweedfs.bucket(f"{unique}-sound"), "sound", 300)
    given = {**tansu.variables(), **seaweedfs.variables(), "PIXASSAY_DATABASE_URL": database_url}
    async with BucketGate(seaweedfs.endpoint, f"{unique}-sick") as gate:
        settings = worker_settings(
            tmp_path,
            {**given, "PIXASSAY_S3_ENDPOINT": gate.endpoint},
            group=unique,
            bundle=tiny_bundle.path,
            fetchers=4,
            queue_size=4,
            s3_timeout_s=0.5,
            store_patience_s=3.0,
            **{f"topic_{kind}": f"{unique}.{kind}" for kind in ("uploads", "review", "labels", "dead")},
        )
        for name, value in variables(settings).items():
            monkeypatch.setenv(name, value)
        await ensure_topics(settings)
        worker = WorkerProcess(settings, tmp_path)
        try:
            yield Stage(settings, gate, worker, sick, sound)
        finally:
            worker.stop()


async def test_a_stalled_bucket_holds_up_its_own_tenant_alone_and_is_made_good_by_replay(
    stage: Stage, capsys: pytest.CaptureFixture[str]
) -> None:
    stage.gate.shut()
    stage.worker.start()
    await stage.announce(stage.sick)
    served = 0
    while not await stage.is_there("dead_letters", "sick", SICK):
        served += 1
        await stage.announce([stage.sound[served]])
        await until(lambda served=served: stage.is_there("verdicts", "sound", served))  # type: ignore[misc]
    assert stage.gate.held > 0
    assert await stage.is_there("verdicts", "sick", 0)
    letters = [json.loads(line) for line in (await stage.told(capsys, "dead", "list", "--json")).splitlines()]
    assert {(one["reason"], one["tenant"]) for one in letters} == {("store_unavailable", "sick")}
    assert "-sick does not answer while other buckets do" in letters[0]["detail"]

    stage.gate.open()
    again = ("dead", "replay", "--reason", "store_unavailable", "--yes")
    assert "sent in again: 30 dead letters" in await stage.told(capsys, *again)
    await until(lambda: stage.is_there("verdicts", "sick", SICK))
    assert "sent in again: 30 dead letters" in await stage.told(capsys, *again, "--again")
    await until_all_committed(stage.settings)
    assert await stage.is_there("verdicts", "sick", SICK)  # one row each
    assert await stage.is_there("dead_letters", "sick", SICK)  # noted, not deleted, and no new ones
    assert "verdict authentic" in await stage.told(capsys, "dead", "show", str(letters[0]["id"]))
    assert "0 lost, 0 stored twice" in await stage.told(capsys, "audit")
    assert stage.worker.leave() == 0


def rows(url: str, table: str, tenant: str) -> int:
    with psycopg.connect(url) as connection:
        asked = f"SELECT count(*) FROM {table} WHERE tenant = %s".encode()
        return int((connection.execute(asked, [tenant]).fetchone() or (0,))[0])
