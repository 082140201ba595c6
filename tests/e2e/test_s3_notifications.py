"""Notifications exactly as an S3 server publishes them: read, fetched, judged, stored."""

import asyncio
import io
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import psycopg
import pytest
from PIL import Image
from pydantic import SecretStr

from models.bundle import Bundle
from stream.app import Worker
from stream.embedded import Tansu
from stream.events import Upload, parse_record
from stream.fetch import Fetcher
from stream.kafka import ensure_topics
from stream.parts import load_parts
from stream.settings import Settings
from stream.telemetry import Telemetry
from tests.conftest import Services
from tests.fakes import until
from tests.integration.lane.conftest import settings_for
from tests.integration.lane.harness import values
from tests.versitygw import VersityGw, require_versitygw

KEYS = ["plain.png", "deep/er/with blank.png", "50% off+1&x=y?.png", "äö/日本.png"]


@pytest.fixture(scope="module")
def binary() -> Path:
    return require_versitygw()


@pytest.fixture
def gateway(binary: Path, tansu: Tansu, services: Services, unique: str) -> Iterator[VersityGw]:
    """An S3 server that announces on the topic <unique>.uploads, with the bucket <unique>."""
    asyncio.run(ensure_topics(settings_for(tansu.bootstrap, unique)))
    with VersityGw(binary, tansu.bootstrap, f"{unique}.uploads") as server:
        services.record(server.version)
        server.client().create_bucket(Bucket=unique)
        yield server


@pytest.fixture
def settings(gateway: VersityGw, tansu: Tansu, unique: str) -> Settings:
    store = {name.removeprefix("PIXASSAY_").lower(): value for name, value in gateway.variables().items()}
    return settings_for(tansu.bootstrap, unique, **store)


def picture(seed: int) -> bytes:
    pixels = np.random.default_rng(seed).integers(0, 256, (80, 90, 3), np.uint8)
    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, "PNG")
    return stream.getvalue()


async def announced(settings: Settings, records: int) -> list[Upload]:
    """The uploads on the topic once it holds so many records, the test event at the server's start included.

    Fails on a record that we cannot read.
    """
    raw: list[bytes] = []
    async with asyncio.timeout(30):
        while len(raw) < records:
            raw = await values(settings, settings.topic_uploads)
    found = [item for value in raw for item in parse_record(value)]
    assert all(isinstance(item, Upload) for item in found)
    return [item for item in found if isinstance(item, Upload)]


async def test_what_the_server_announces_is_fetched(
    gateway: VersityGw, settings: Settings, unique: str
) -> None:
    client = gateway.client()
    for seed, key in enumerate(KEYS):
        await asyncio.to_thread(client.put_object, Bucket=unique, Key=key, Body=picture(seed))
    found = await announced(settings, 1 + len(KEYS))
    assert {upload.uri for upload in found} == {f"s3://{unique}/{key}" for key in KEYS}
    assert {upload.tenant for upload in found} == {unique}
    fetch = Fetcher(settings).fetch
    fetched = {upload.uri: (await asyncio.to_thread(fetch, upload)).data for upload in found}
    assert fetched == {f"s3://{unique}/{key}": picture(seed) for seed, key in enumerate(KEYS)}


async def test_new_contents_are_a_new_upload_and_a_deletion_is_none(
    gateway: VersityGw, settings: Settings, unique: str
) -> None:
    client = gateway.client()
    for seed in (1, 2):
        await asyncio.to_thread(client.put_object, Bucket=unique, Key="a.png", Body=picture(seed))
    await asyncio.to_thread(client.delete_object, Bucket=unique, Key="a.png")
    found = await announced(settings, 1 + 3)
    assert [upload.uri for upload in found] == [f"s3://{unique}/a.png"] * 2
    assert len({upload.upload_id for upload in found}) == 2


async def test_the_worker_judges_what_the_server_announces(
    gateway: VersityGw, settings: Settings, unique: str, database_url: str, tiny_bundle: Bundle
) -> None:
    changes = {
        "database_url": SecretStr(database_url),
        "bundle": tiny_bundle.path,
        "threads": 1,
        "decoders": 1,
    }
    settings = settings.model_copy(update=changes)
    parts = await load_parts(settings, Telemetry())
    client = gateway.client()
    async with Worker(settings, parts) as worker:
        for seed, key in enumerate(KEYS):
            await asyncio.to_thread(client.put_object, Bucket=unique, Key=key, Body=picture(seed))
        await asyncio.to_thread(client.put_object, Bucket=unique, Key="broken.png", Body=b"no picture")
        await until(lambda: worker.telemetry.outcomes == len(KEYS) + 1)
    await parts.close()
    with psycopg.connect(database_url) as connection:
        rows = connection.execute("select uri, tenant, verdict, score is null from verdicts").fetchall()
    judged = {uri: (tenant, verdict, unscored) for uri, tenant, verdict, unscored in rows}
    assert judged.pop(f"s3://{unique}/broken.png") == (unique, "unable_to_evaluate", True)
    assert judged.keys() == {f"s3://{unique}/{key}" for key in KEYS}
    assert {(tenant, unscored) for tenant, _, unscored in judged.values()} == {(unique, False)}
