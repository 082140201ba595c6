"""`pixassay db erase` on a real broker and a real database."""

import asyncio
import hashlib
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import orjson
import psycopg
import pytest

from stream.kafka import end_offsets, ensure_topics, publish, read_range
from stream.reasons import Reason
from stream.settings import Settings
from stream.store import Store
from stream.types import DeadLetter, Origin
from tests.integration.test_audit import acknowledge
from tests.integration.test_history_commands import run
from tests.outcomes import BUNDLE, POLICY, outcome


@pytest.fixture
def store(database_url: str) -> Iterator[Store]:
    """What a worker has stored: a flagged picture and a dead letter of bob's, and one picture of eve's."""
    with closing(Store(database_url)) as opened:
        opened.open(BUNDLE, POLICY)
        opened.write([outcome("fake", uploader_id="bob"), outcome("hers", uploader_id="eve")])
        upload = outcome("dead", uploader_id="bob").job.upload
        place = Origin("t", 0, 2)
        opened.bury([DeadLetter(place, Reason.ACCESS_DENIED, "403", upload.to_bytes(), upload=upload)])
        yield opened


def rows(url: str) -> set[str]:
    with psycopg.connect(url) as connection:
        asked = "SELECT upload_id FROM verdicts UNION ALL SELECT upload_id FROM dead_letters"
        return {row[0] for row in connection.execute(asked)}


async def records(settings: Settings, topic: str) -> list[tuple[bytes | None, bytes | None]]:
    ends = await end_offsets(settings, topic)
    return [(one.key, one.value) async for one in read_range(settings, topic, 0, 0, ends[0])]


def test_an_uploader_is_erased_with_a_receipt(
    settings: Settings, store: Store, database_url: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    wanted = ("db", "erase", "--tenant", "default", "--uploader", "bob", "--by", "dpo")
    counts = "1 verdicts, 0 labels and 1 dead letters (2 tombstones)"
    assert run(*wanted, "--dry-run") == 0
    assert capsys.readouterr().out == f"would erase {counts}\n"
    assert run(*wanted) == 1
    question = f"Erase {counts} of uploader 'bob' of tenant 'default' for ever? Nobody is there to answer"
    assert question in capsys.readouterr().err
    assert rows(database_url) == {"fake", "hers", "dead"}

    file = tmp_path / "receipt.json"
    assert run(*wanted, "--yes", "--receipt", str(file)) == 0
    assert f"erased {counts}; receipt " in capsys.readouterr().err
    assert rows(database_url) == {"hers"}
    assert asyncio.run(records(settings, settings.topic_review)) == [(b"default/fake", None)]
    assert asyncio.run(records(settings, settings.topic_dead)) == [(b"default/dead", None)]
    told: dict[str, Any] = orjson.loads(file.read_bytes())
    assert (told["kind"], told["requested_by"], told["verdicts"], told["dead_letters"]) == (
        "uploader",
        "dpo",
        1,
        1,
    )
    for word in (b"bob", b"fake", b"default"):
        assert word not in file.read_bytes()
    stated = told.pop("sha256")
    assert hashlib.sha256(orjson.dumps(told, option=orjson.OPT_SORT_KEYS)).hexdigest() == stated
    assert run(*wanted, "--yes", "--receipt", str(file)) == 2
    assert "File exists; nothing was erased" in capsys.readouterr().err


def test_without_a_file_the_receipt_is_printed(
    settings: Settings, store: Store, capsys: pytest.CaptureFixture[str]
) -> None:
    for _ in range(2):  # the second time there is nothing left, and it says so
        assert run("db", "erase", "--tenant", "default", "--upload", "fake", "--yes") == 0
    first, second = (orjson.loads(f"{{{part}") for part in capsys.readouterr().out.split("{")[1:])
    assert (first["verdicts"], second["verdicts"]) == (1, 0)
    assert asyncio.run(records(settings, settings.topic_review)) == [(b"default/fake", None)] * 2


def test_what_fails_leaves_no_receipt(
    settings: Settings, store: Store, database_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    wanted = ("db", "erase", "--tenant", "default", "--upload", "fake", "--yes", "--receipt")
    assert run("db", "erase", "--tenant", "default", "--yes") == 2
    assert run("db", "erase", "--tenant", "default", "--upload", "a", "--uploader", "b") == 2
    assert run(*wanted, str(tmp_path / "nowhere" / "receipt.json")) == 2
    monkeypatch.setenv("PIXASSAY_DATABASE_URL", database_url.replace("/t", "/no-such-t"))
    assert run(*wanted, str(tmp_path / "receipt.json")) == 1
    assert list(tmp_path.iterdir()) == []
    assert rows(database_url) == {"fake", "hers", "dead"}


def test_the_audit_does_not_call_it_lost(
    settings: Settings, store: Store, capsys: pytest.CaptureFixture[str]
) -> None:
    asyncio.run(announce(settings))
    assert run("db", "erase", "--tenant", "default", "--uploader", "bob", "--yes") == 0
    capsys.readouterr()
    assert run("audit", "--json") == 0
    (tally,) = orjson.loads(capsys.readouterr().out)["partitions"]
    assert (tally["verdicts"], tally["erased"], tally["gaps"]) == (1, 2, [])


async def announce(settings: Settings) -> None:
    """The three uploads, all acknowledged, and the review messages of the flagged ones."""
    await ensure_topics(settings)
    uploads = [outcome(name, uploader_id=who).job.upload for name, who in (("fake", "bob"), ("hers", "eve"))]
    uploads.append(outcome("dead", uploader_id="bob").job.upload)
    await publish(settings, settings.topic_uploads, [(None, one.to_bytes()) for one in uploads])
    await acknowledge(settings, 3)
