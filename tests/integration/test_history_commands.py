"""The commands over the database, as a person or a program runs them."""

import asyncio

import orjson
import psycopg
import pytest

from stream.cli import main
from stream.events import parse_label
from stream.kafka import end_offsets, ensure_topics, publish, read_range
from stream.reasons import Reason
from stream.settings import Settings
from stream.store import Store
from tests.integration.test_audit import acknowledge
from tests.outcomes import outcome


def run(*words: str) -> int:
    """The command's exit status."""
    with pytest.raises(SystemExit) as ended:
        main(words)
    return int(ended.value.code or 0)


def test_upgrade_of_an_empty_database(
    bare_database_url: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("PIXASSAY_DATABASE_URL", bare_database_url)
    assert run("db", "partitions") == 2
    assert "has no tables yet: run `pixassay db upgrade`" in capsys.readouterr().err
    assert run("db", "upgrade") == 0
    assert "schema 0004" in capsys.readouterr().out
    assert run("db", "partitions", "--months", "2", "--past", "1", "--json") == 0
    listed = [orjson.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [one["made"] for one in listed] == [True, False, False, True, False]
    assert listed[-1]["partition"] == "verdicts_default"
    assert run("db", "partitions", "--list") == 0
    assert capsys.readouterr().out.count("verdicts_") == 5


def test_review_next_and_label(settings: Settings, store: Store, capsys: pytest.CaptureFixture[str]) -> None:
    fake = outcome("fake", score=0.97, reasons=(Reason.ABOVE_SYNTHETIC,), uri="s3://b/[red]cat.jpg")
    store.write([fake, outcome("doubt", verdict="suspicious", score=0.6)])
    assert run("review", "next", "--json", "--limit", "1") == 0
    (line,) = capsys.readouterr().out.splitlines()
    shown = orjson.loads(line)
    assert (shown["verdict_id"], shown["score"]) == (fake.verdict_id, 0.97)
    assert shown["decided_at"].endswith("Z")
    assert run("review", "next") == 0
    table = capsys.readouterr().out
    assert "0.9700" in table
    assert "s3://b/[red]cat.jpg" in table  # a file name is no markup

    decision = (
        "review",
        "label",
        fake.verdict_id,
        "authentic",
        "--reviewer",
        "ana",
        "--note",
        "my own photo",
    )
    assert run(*decision) == 0
    assert f"sent to {settings.topic_labels}" in capsys.readouterr().out
    (label,) = [parse_label(value) for value in asyncio.run(values(settings, settings.topic_labels))]
    assert (str(label.verdict_id), label.upload_id, label.decision) == (fake.verdict_id, "fake", "authentic")
    assert (label.reviewer, label.note) == ("ana", "my own photo")


async def values(settings: Settings, topic: str) -> list[bytes | None]:
    ends = await end_offsets(settings, topic)
    return [
        record.value
        for partition, end in ends.items()
        async for record in read_range(settings, topic, partition, 0, end)
    ]


@pytest.mark.parametrize(
    ("words", "status", "told"),
    [
        (("label", "no-uuid", "authentic", "--reviewer", "ana"), 2, "valid UUID"),
        (("label", "00000000-0000-0000-0000-000000000000", "perhaps", "--reviewer", "ana"), 2, "perhaps"),
        (("label", "00000000-0000-0000-0000-000000000000", "unsure"), 2, "--reviewer"),
        (
            ("label", "00000000-0000-0000-0000-000000000000", "unsure", "--reviewer", "ana"),
            1,
            "there is no verdict",
        ),
    ],
)
def test_a_wrong_label_is_told(
    settings: Settings, words: tuple[str, ...], status: int, told: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run("review", *words) == status
    assert told in capsys.readouterr().err


def test_audit_ends_with_1_where_an_upload_was_lost(
    settings: Settings, store: Store, database_url: str, capsys: pytest.CaptureFixture[str]
) -> None:
    asyncio.run(acknowledged(settings))
    store.write([outcome("a"), outcome("b")])
    assert run("audit") == 0
    assert "0 lost, 0 stored twice" in capsys.readouterr().out
    with psycopg.connect(database_url) as connection:
        connection.execute("DELETE FROM verdicts WHERE upload_id = 'a'")
    assert run("audit") == 1
    assert "lost: default/a at partition 0, offset 0\n" in capsys.readouterr().out
    assert run("audit", "--json", "--topic", settings.topic_uploads) == 1
    report = orjson.loads(capsys.readouterr().out)
    gap = {"partition": 0, "offset": 0, "tenant": "default", "upload_id": "a"}
    assert (report["ok"], report["partitions"][0]["gaps"]) == (False, [gap])
    assert run("audit", "--from", "1") == 0
    assert run("audit", "--topic", "no.such.topic") == 2


async def acknowledged(settings: Settings) -> None:
    """Two uploads on the topic, both committed."""
    await ensure_topics(settings)
    for name in ("a", "b"):
        event = outcome(name).job.upload.to_bytes()
        await publish(settings, settings.topic_uploads, [(None, event)])
    await acknowledge(settings, 2)
