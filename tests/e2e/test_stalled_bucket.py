"""One tenant's bucket accepts requests and never answers: real worker, S3 server, broker and database."""

import asyncio
import json
from collections.abc import Awaitable, Callable, Sequence
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


async def announce(settings: Settings, wanted: Sequence[Upload]) -> None:
    await publish(settings, settings.topic_uploads, [(None, one.to_bytes()) for one in wanted])


async def until(reached: Callable[[], Awaitable[bool]], seconds: float = 60) -> None:
    async with asyncio.timeout(seconds):
        while not await reached():  # noqa: ASYNC110 - the states looked at have no event
            await asyncio.sleep(0.2)


async def test_a_stalled_bucket_holds_up_its_own_tenant_alone_and_is_made_good_by_replay(
    tansu: Tansu,
    seaweedfs: SeaweedFS,
    tiny_bundle: Bundle,
    database_url: str,
    unique: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
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

        async def told(*words: str) -> str:
            """What a command prints, which must succeed."""
            assert await asyncio.to_thread(run, *words) == 0
            return capsys.readouterr().out

        async def is_there(table: str, tenant: str, wanted: int) -> bool:
            return await asyncio.to_thread(rows, database_url, table, tenant) == wanted

        await ensure_topics(settings)
        worker = WorkerProcess(settings, tmp_path)
        worker.start()
        try:
            gate.shut()
            await announce(settings, sick)
            served = 0
            while not await is_there("dead_letters", "sick", SICK):
                served += 1
                await announce(settings, [sound[served]])
                await until(lambda served=served: is_there("verdicts", "sound", served))  # type: ignore[misc]
            assert gate.held > 0
            assert await is_there("verdicts", "sick", 0)
            letters = [json.loads(line) for line in (await told("dead", "list", "--json")).splitlines()]
            assert {(one["reason"], one["tenant"]) for one in letters} == {("store_unavailable", "sick")}
            assert f"s3://{unique}-sick does not answer while other buckets do" in letters[0]["detail"]

            gate.open()
            again = ("dead", "replay", "--reason", "store_unavailable", "--yes")
            assert "sent in again: 30 dead letters" in await told(*again)
            await until(lambda: is_there("verdicts", "sick", SICK))
            assert "sent in again: 30 dead letters" in await told(*again, "--again")
            await until_all_committed(settings)
            assert await is_there("verdicts", "sick", SICK)  # one row each
            assert await is_there("dead_letters", "sick", SICK)  # noted, not deleted, and no new ones
            assert "verdict authentic" in await told("dead", "show", str(letters[0]["id"]))
            assert "0 lost, 0 stored twice" in await told("audit")
            assert worker.leave() == 0
        finally:
            worker.stop()


def rows(url: str, table: str, tenant: str) -> int:
    with psycopg.connect(url) as connection:
        asked = f"SELECT count(*) FROM {table} WHERE tenant = %s".encode()
        return int((connection.execute(asked, [tenant]).fetchone() or (0,))[0])
