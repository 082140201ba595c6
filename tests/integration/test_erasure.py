"""Erasure on a real Postgres: all of it goes, nothing else does, and a replay does not bring it back."""

from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, datetime, timedelta
from uuid import UUID

import psycopg
import pytest

from stream.erasure import Subject, Tombstones, erase, rehearse
from stream.errors import Outage
from stream.events import Label
from stream.ledger import Ledger
from stream.reasons import Reason
from stream.store import Store
from stream.types import DeadLetter, Origin, Outcome
from tests.outcomes import BUNDLE, POLICY, outcome


@pytest.fixture
def store(database_url: str) -> Iterator[Store]:
    with closing(Store(database_url)) as opened:
        opened.open(BUNDLE, POLICY)
        yield opened


def label(told: Outcome) -> Label:
    upload = told.job.upload
    fields = {"tenant": upload.tenant, "upload_id": upload.upload_id, "decision": "authentic"}
    return Label.model_validate(
        {**fields, "verdict_id": UUID(told.verdict_id), "reviewer": "ana", "decided_at": datetime.now(UTC)}
    )


def letter(told: Outcome, offset: int) -> DeadLetter:
    upload = told.job.upload
    place = Origin("image.uploads", 0, offset)
    return DeadLetter(place, Reason.ACCESS_DENIED, "403", upload.to_bytes(), upload=upload)


def left(url: str) -> dict[str, set[str]]:
    """The upload ids that each table holds."""
    tables = ("verdicts", "reviews", "dead_letters", "review_pending")
    with psycopg.connect(url) as connection:
        return {
            table: {row[0] for row in connection.execute(f"SELECT upload_id FROM {table}".encode())}
            for table in tables
        }


def test_all_of_an_uploader_goes_and_stays_away(store: Store, database_url: str) -> None:
    his = [outcome("fake", uploader_id="bob"), outcome("clean", uploader_id="bob", verdict="authentic")]
    hers, elsewhere = outcome("hers", uploader_id="eve"), outcome("other", uploader_id="bob", tenant="art")
    dead, kept = outcome("dead", uploader_id="bob"), outcome("kept", uploader_id="eve")
    store.write([*his, hers, elsewhere])
    store.label([label(his[1])])
    store.bury([letter(dead, 1), letter(kept, 2)])
    sent = list[Tombstones]()
    receipt = erase(database_url, Subject("uploader", "default", "bob"), "dpo", sent.append)
    remaining = {"verdicts": {"hers", "other"}, "reviews": set(), "dead_letters": {"kept"}}
    assert left(database_url) == {**remaining, "review_pending": {"hers", "other"}}
    assert sent == [Tombstones(review=[b"default/fake"], dead=[b"default/dead"])]
    assert (receipt.verdicts, receipt.reviews, receipt.dead_letters, receipt.tombstones) == (2, 1, 1, 2)

    assert store.write([his[0], hers]) == [None, hers]
    assert store.bury([letter(kept, 2), letter(dead, 1)]) == [True, False]
    store.label([label(his[1])])
    assert left(database_url) == {**remaining, "review_pending": {"hers", "other"}}
    later = outcome("new", uploader_id="bob", uploaded_at=datetime.now(UTC) + timedelta(minutes=1))
    assert store.write([later]) == [later]  # who comes back afterwards is judged like anybody


def test_one_upload_goes_and_the_receipt_names_nobody(store: Store, database_url: str) -> None:
    gone, stays = outcome("gone", uploader_id="bob"), outcome("stays", uploader_id="bob")
    store.write([gone, stays])
    receipt = erase(database_url, Subject("upload", "default", "gone"), "dpo", lambda _: None)
    assert left(database_url)["verdicts"] == {"stays"}
    assert store.write([gone, stays]) == [None, stays]
    document = receipt.document()
    assert (document["kind"], document["verdicts"]) == ("upload", 1)
    assert "gone" not in str(document)
    with psycopg.connect(database_url) as connection:
        row = connection.execute("SELECT id, verdicts, requested_by FROM erasures").fetchone()
    assert row == (receipt.id, 1, "dpo")


def test_what_could_not_be_read_is_emptied_and_its_place_stays(store: Store, database_url: str) -> None:
    def unread(offset: int, raw: bytes) -> DeadLetter:
        return DeadLetter(Origin("image.uploads", 0, offset), Reason.INVALID_FIELD, "uri: no", raw)

    his = b'{"schema": "pixassay.upload/1", "tenant": "art", "upload_id": "cat", "uploader_id": "bob"}'
    store.bury([unread(1, his), unread(2, his.replace(b"bob", b"bobby")), unread(3, his[:-1])])
    sent = list[Tombstones]()
    receipt = erase(database_url, Subject("uploader", "art", "bob"), "dpo", sent.append)
    assert receipt.dead_letters == 2
    assert sent == [Tombstones(review=[], dead=[b"image.uploads/0/1", b"image.uploads/0/3"])]
    with psycopg.connect(database_url) as connection:
        rows = connection.execute('SELECT raw, detail, item FROM dead_letters ORDER BY "offset"').fetchall()
    assert [row for row in rows if b"bobby" not in row[0]] == [(b"", "erased", "#0")] * 2
    assert len(rows) == 3


def test_the_audit_can_ask_what_was_erased(store: Store, database_url: str) -> None:
    gone, his, stays = (outcome(name, uploader_id="bob").job.upload for name in ("gone", "his", "stays"))
    erase(database_url, Subject("upload", "default", "gone"), "dpo", lambda _: None)
    with closing(Ledger(database_url)) as ledger:
        assert ledger.erased([gone, his, stays]) == {("default", "gone")}
        erase(database_url, Subject("uploader", "default", "bob"), "dpo", lambda _: None)
        later = stays.model_copy(update={"uploaded_at": datetime.now(UTC) + timedelta(minutes=1)})
        assert ledger.erased([gone, his, later]) == {("default", "gone"), ("default", "his")}


def test_a_rehearsal_tells_the_same_and_changes_nothing(store: Store, database_url: str) -> None:
    store.write([outcome("cat")])
    store.bury([letter(outcome("dog"), 1)])
    subject = Subject("uploader", "default", "u-1")
    told = rehearse(database_url, subject, "dpo")
    assert left(database_url) == {
        "verdicts": {"cat"},
        "reviews": set(),
        "dead_letters": {"dog"},
        "review_pending": {"cat"},
    }
    assert store.write([outcome("cat")]) == [outcome("cat")]
    done = erase(database_url, subject, "dpo", lambda _: None)
    counts = ("verdicts", "reviews", "dead_letters", "tombstones")
    assert (
        [getattr(told, name) for name in counts] == [getattr(done, name) for name in counts] == [1, 0, 1, 2]
    )


def test_without_its_tombstones_nothing_is_deleted_and_it_can_be_done_again(
    store: Store, database_url: str
) -> None:
    def away(_: Tombstones) -> None:
        raise Outage("kafka", "away")

    store.write([outcome("cat")])
    subject = Subject("upload", "default", "cat")
    with pytest.raises(Outage):
        erase(database_url, subject, "dpo", away)
    assert left(database_url)["verdicts"] == {"cat"}
    assert erase(database_url, subject, "dpo", lambda _: None).verdicts == 1
    assert left(database_url)["verdicts"] == set()
