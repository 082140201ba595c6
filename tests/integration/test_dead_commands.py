"""`pixassay dead` on a real broker and a real database."""

import asyncio

import orjson
import psycopg
import pytest

from stream.commands.letter import readable
from stream.erasure import Subject, erase
from stream.events import parse_record
from stream.kafka import ensure_topics
from stream.letters import ERASED, NO_VALUE, UNREADABLE
from stream.reasons import Reason
from stream.settings import Settings, load_settings
from stream.store import Store
from stream.types import DeadLetter, Origin
from tests.integration.test_history_commands import run, values
from tests.outcomes import outcome


def letter(name: str, offset: int, reason: Reason = Reason.ACCESS_DENIED, tenant: str = "art") -> DeadLetter:
    """The first one that is buried in a database has the id 1."""
    upload = outcome(name, tenant=tenant).job.upload
    return DeadLetter(Origin("t", 0, offset), reason, "403", upload.to_bytes(), upload=upload)


def unread(offset: int, raw: bytes, topic: str = "t") -> DeadLetter:
    return DeadLetter(Origin(topic, 0, offset), Reason.BAD_JSON, "no \x1b[2J JSON", raw)


def on_topic(topic: str) -> list[bytes | None]:
    settings = load_settings()
    asyncio.run(ensure_topics(settings))
    return asyncio.run(values(settings, topic))


def notes(url: str) -> list[tuple[object, ...]]:
    """What stands beside each dead letter: how often replayed, dropped by whom, and why."""
    with psycopg.connect(url) as connection:
        return connection.execute(
            "SELECT replays, replayed_at IS NOT NULL, dropped_by, dropped_why FROM dead_letters ORDER BY id"
        ).fetchall()


def test_list(settings: Settings, store: Store, capsys: pytest.CaptureFixture[str]) -> None:
    def ids(*words: str) -> list[int]:
        assert run("dead", "list", "--json", *words) == 0
        return [orjson.loads(line)["id"] for line in capsys.readouterr().out.splitlines()]

    assert run("dead", "list") == 0
    assert capsys.readouterr().out == "There are no such dead letters.\n"
    store.bury([letter("locked", 5), unread(6, b"{"), letter("other", 7, tenant="b"), unread(5, b"{", "l")])
    assert ids() == [4, 3, 2, 1]
    assert ids("--limit", "2") == [4, 3]
    assert ids("--limit", "2", "--before", "3") == [2, 1]
    assert ids("--reason", "access_denied") == [3, 1]
    assert ids("--tenant", "b") == [3]
    assert ids("--topic", "t", "--partition", "0", "--offset", "5") == [1]
    assert ids("--partition", "1") == []
    assert ids("--until", "2026-11-01") == []
    assert ids("--since", "2026-11-01T10:00Z", "--until", "2100-01-01") == [4, 3, 2, 1]
    assert ids("--state", "open") == [4, 3, 2, 1]
    assert ids("--state", "dropped") == []
    assert run("dead", "list", "--limit", "3") == 0
    told = capsys.readouterr()
    assert "access_denied" in told.out
    assert "no \\x1b[2J JSON" in told.out
    assert told.err == "there may be more: --before 2\n"
    assert run("dead", "list", "--reason", "boredom") == 2
    assert run("dead", "list", "--since", "yesterday") == 2


def test_show(settings: Settings, store: Store, capsys: pytest.CaptureFixture[str]) -> None:
    store.bury([letter("cat", 5), unread(6, b"\xff\x1b[2J\xe2\x80\xaegnp"), letter("cat", 9)])
    store.write([outcome("cat", tenant="art")])
    assert run("dead", "show", "1") == 0
    told = capsys.readouterr().out
    for line in (
        "offset  5",
        "attempts  1",
        "reason  access_denied",
        '"upload_id": "cat"',
        "verdict synthetic",
    ):
        assert line in told
    assert "dead letter 3" in told
    assert run("dead", "show", "2") == 0
    assert "\\xff\\x1b[2J\\u202egnp" in capsys.readouterr().out
    assert run("dead", "show", "2", "--json") == 0
    shown = orjson.loads(capsys.readouterr().out)
    assert (shown["value"], shown["value_encoding"], shown["since"]) == ("/xtbMkrigK5nbnA=", "base64", [])
    assert run("dead", "show", "7") == 1
    assert "there is no dead letter 7; `pixassay dead list`" in capsys.readouterr().err


@pytest.mark.parametrize("raw", [b"[" * 500 + b"]" * 500, b'{"a": "\\u001b\\u009b"}', b"\x00\x9b", b"a\rb"])
def test_a_terminal_obeys_no_record(raw: bytes) -> None:
    assert all(one.isprintable() or one == "\n" for one in readable(raw))


def test_replay_is_safe_to_do_twice(
    settings: Settings, store: Store, database_url: str, capsys: pytest.CaptureFixture[str]
) -> None:
    first, second = letter("cat", 5), letter("dog", 6, Reason.STORE_UNAVAILABLE)
    store.bury([first, second])
    assert run("dead", "replay", "--tenant", "art", "--dry-run") == 0
    told = "would send in again: 2 dead letters (1 access_denied, 1 store_unavailable)\n"
    assert capsys.readouterr().out == told
    assert on_topic(settings.topic_uploads) == []
    assert run("dead", "replay", "--reason", "store_unavailable") == 0
    assert capsys.readouterr().out == "sent in again: 1 dead letters (1 store_unavailable)\n"
    assert on_topic(settings.topic_uploads) == [second.raw]
    assert run("dead", "replay", "--all") == 0
    assert run("dead", "replay", "--all") == 0  # no more is open
    assert "would send in again: 0 dead letters" in capsys.readouterr().out
    assert run("dead", "replay", "2") == 1
    assert "sent in again before; --again does it once more" in capsys.readouterr().err
    assert run("dead", "replay", "2", "--again") == 0
    assert on_topic(settings.topic_uploads) == [second.raw, first.raw, second.raw]
    assert notes(database_url) == [(1, True, None, None), (2, True, None, None)]


def test_replay_leaves_out_what_would_be_in_vain(
    settings: Settings, store: Store, database_url: str, capsys: pytest.CaptureFixture[str]
) -> None:
    late = letter("late", 9)
    store.bury([unread(5, b"{"), unread(6, b""), late])
    mark = "INSERT INTO erased VALUES (%s, now())"
    with psycopg.connect(database_url) as connection:  # as an erasure does first; the letter it takes later
        connection.execute(mark, [Subject("upload", "art", "late").digest])
    assert run("dead", "replay", "--all") == 1
    told = capsys.readouterr().out.splitlines()
    assert told[1:] == sorted(f"left out: 1, {why}" for why in (NO_VALUE, UNREADABLE, ERASED))
    assert run("dead", "replay", "99") == 1
    assert "there is no dead letter 99" in capsys.readouterr().err
    assert on_topic(settings.topic_uploads) == []
    assert notes(database_url) == [(0, False, None, None)] * 3


def test_many_are_replayed_after_a_question_and_within_a_limit(
    settings: Settings, store: Store, database_url: str, capsys: pytest.CaptureFixture[str]
) -> None:
    store.bury([letter(f"u{number:03}", number) for number in range(250)])
    assert run("dead", "replay", "--all") == 1
    assert "Send 250 dead letters (250 access_denied) in again? Nobody is there" in capsys.readouterr().err
    assert run("dead", "replay") == 2
    assert "say which" in capsys.readouterr().err
    assert run("dead", "replay", "--all", "--yes", "--limit", "150") == 0
    assert "there may be more: --limit was 150" in capsys.readouterr().err
    sent = [parse_record(value)[0] for value in on_topic(settings.topic_uploads)]
    assert sent == [letter(f"u{number:03}", 0).upload for number in range(150)]
    assert [row[0] for row in notes(database_url)] == [1] * 150 + [0] * 100


def test_a_label_is_replayed_to_its_own_topic(settings: Settings, store: Store) -> None:
    raw = orjson.dumps(
        {
            "schema": "pixassay.label/1",
            "verdict_id": outcome("cat").verdict_id,
            "tenant": "default",
            "upload_id": "cat",
            "decision": "authentic",
            "reviewer": "ana",
            "decided_at": "2026-11-24T10:00:00Z",
        }
    )
    store.bury([unread(5, raw, settings.topic_labels)])
    assert run("dead", "replay", "1") == 0
    assert on_topic(settings.topic_labels) == [raw]
    assert on_topic(settings.topic_uploads) == []


def test_drop_deletes_nothing(
    settings: Settings, store: Store, database_url: str, capsys: pytest.CaptureFixture[str]
) -> None:
    store.bury([unread(number, b"{") for number in range(12)])
    assert run("dead", "drop", "--reason", "bad_json", "--why", "test data", "--by", "ana") == 1
    assert "Drop 12 dead letters? Nobody is there to answer" in capsys.readouterr().err
    assert run("dead", "drop", "--why", "x") == 2
    assert run("dead", "drop", "1") == 2
    assert run("dead", "drop", "1", "--why", " ") == 2
    assert run("dead", "drop", "--all", "--why", "x", "--dry-run", "--limit", "3") == 0
    assert capsys.readouterr().out == "would drop 3 dead letters\n"
    assert run("dead", "drop", "1", "2", "--why", "test data", "--by", "ana") == 0
    assert capsys.readouterr().out == "dropped 2 dead letters\n"
    assert notes(database_url) == [(0, False, "ana", "test data")] * 2 + [(0, False, None, None)] * 10
    for command in (("replay", "1", "--again"), ("drop", "1", "--why", "again")):
        assert run("dead", *command) == 1
        assert "dead letter 1 was dropped; `pixassay dead show 1`" in capsys.readouterr().err
    assert run("dead", "show", "1") == 0
    assert "dropped_why  test data" in capsys.readouterr().out


def test_what_was_erased_is_no_letter_any_more(settings: Settings, store: Store, database_url: str) -> None:
    store.bury([letter("cat", 5)])
    erase(database_url, Subject("upload", "art", "cat"), "dpo", lambda _: None)
    assert run("dead", "replay", "1") == 1
