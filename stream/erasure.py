"""Erasure: what is known of one upload, or of all uploads of one uploader, is deleted and does not come back.

Kafka keeps the events for as long as its retention says, and a replay would store them again. So an
erasure leaves a mark: the SHA-256 of what was erased. The store and the audit ask for marks.
"""

import hashlib
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal
from uuid import UUID, uuid4

import orjson
import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import ARRAY, insert

from stream.database import connect, require_head, transaction
from stream.events import Upload, parse_record
from stream.tables import dead_letters, erased, erasures, review_pending, reviews, verdicts
from stream.types import FLAGGED

RECEIPT_SCHEMA = "pixassay.erasure/1"
Kind = Literal["upload", "uploader"]
Key = tuple[str, str]  # tenant, upload_id


@dataclass(frozen=True, slots=True)
class Subject:
    """What is to be erased. An uploader means all that was uploaded up to then, not what comes later."""

    kind: Kind
    tenant: str
    id: str

    @property
    def digest(self) -> bytes:
        """The mark: SHA-256 of the JSON [kind, tenant, id]. Whoever can guess an id can check the guess."""
        return hashlib.sha256(orjson.dumps([self.kind, self.tenant, self.id])).digest()


@dataclass(frozen=True, slots=True)
class Receipt:
    """What an erasure did. Holds nothing by which the erased could be told, but for the hash."""

    id: UUID
    kind: Kind
    subject: bytes
    requested_by: str
    erased_at: datetime
    verdicts: int
    reviews: int
    dead_letters: int
    tombstones: int

    def document(self) -> dict[str, Any]:
        """As JSON: with its schema's name, and as `sha256` the hash of all the rest (keys sorted)."""
        fields: dict[str, Any] = {name: getattr(self, name) for name in self.__slots__}
        fields |= {"schema": RECEIPT_SCHEMA, "subject": self.subject.hex(), "id": str(self.id)}
        packed = orjson.dumps(fields, option=orjson.OPT_SORT_KEYS | orjson.OPT_UTC_Z)
        return {**orjson.loads(packed), "sha256": hashlib.sha256(packed).hexdigest()}


@dataclass(frozen=True, slots=True)
class Tombstones:
    """Keys of records that are to be overwritten by null values."""

    review: list[bytes]
    dead: list[bytes]


def erased_uploads(connection: sa.Connection, uploads: Iterable[Upload]) -> set[Key]:
    """Those of the uploads that were erased.

    Asked in the transaction that stores them, it also holds up an erasure until that has ended: reading
    the marks locks them against `erase`.
    """
    wanted = {(item.tenant, item.upload_id): item for item in uploads}
    own = {key: Subject("upload", *key).digest for key in wanted}
    theirs = {
        key: Subject("uploader", item.tenant, item.uploader_id).digest
        for key, item in wanted.items()
        if item.uploader_id is not None
    }
    marks = _marks(connection, {*own.values(), *theirs.values()})
    if not marks:
        return set()
    return {
        key
        for key, item in wanted.items()
        if own[key] in marks or (key in theirs and item.uploaded_at <= marks.get(theirs[key], _NEVER))
    }


def erased_keys(connection: sa.Connection, keys: Iterable[Key]) -> set[Key]:
    """Those of the uploads that were erased, where nothing is known but their keys. Locks as above."""
    digests = {key: Subject("upload", *key).digest for key in keys}
    marks = _marks(connection, digests.values())
    return {key for key, digest in digests.items() if digest in marks}


_NEVER = datetime.fromisoformat("0001-01-01T00:00:00+00:00")


def _marks(connection: sa.Connection, digests: Iterable[bytes]) -> dict[bytes, datetime]:
    wanted = sa.any_(sa.bindparam("subjects", sorted(digests), ARRAY(sa.LargeBinary)))
    found = connection.execute(sa.select(erased).where(erased.c.subject == wanted))
    return {bytes(subject): erased_at for subject, erased_at in found}


def erase(
    database_url: str, subject: Subject, requested_by: str, publish: Callable[[Tombstones], None]
) -> Receipt:
    """Erase, and write the receipt into `erasures`. Safe to run again after it was cut short.

    `publish` sends the tombstones before the deletion is committed; what it raises undoes the deletion.
    Raises Outage or ConfigError.
    """
    engine = connect(database_url)
    try:
        with transaction(engine) as connection:
            require_head(connection)
            erased_at = _mark(connection, subject)
        with transaction(engine) as connection:
            connection.execute(sa.text("SET LOCAL statement_timeout = '10min'"))
            return _delete(connection, subject, requested_by, erased_at, publish)
    finally:
        engine.dispose()


def _mark(connection: sa.Connection, subject: Subject) -> datetime:
    """From here on, writers leave it out. Waits for those that read the marks before it."""
    connection.execute(sa.text("SET LOCAL lock_timeout = '5s'"))
    connection.execute(sa.text("LOCK TABLE erased IN ACCESS EXCLUSIVE MODE"))
    row = insert(erased).values(subject=subject.digest, erased_at=sa.func.clock_timestamp())
    again = row.on_conflict_do_update(
        index_elements=[erased.c.subject], set_={"erased_at": row.excluded.erased_at}
    )
    moment: datetime = connection.scalar(again.returning(erased.c.erased_at))
    return moment


def _delete(
    connection: sa.Connection,
    subject: Subject,
    requested_by: str,
    erased_at: datetime,
    publish: Callable[[Tombstones], None],
) -> Receipt:
    judged = connection.execute(_verdicts_of(subject, erased_at)).all()
    buried = _delete_letters(connection, subject, erased_at)
    uploads = sorted({upload_id for upload_id, _ in judged} | set(buried) | _named(subject))
    reviewed = _delete_of_uploads(connection, reviews, subject.tenant, uploads)
    _delete_of_uploads(connection, review_pending, subject.tenant, uploads)
    _mark_uploads(connection, subject.tenant, uploads, erased_at)
    flagged = sorted({upload_id for upload_id, verdict in judged if verdict in FLAGGED})
    stones = Tombstones(_keys(subject.tenant, flagged), _keys(subject.tenant, sorted(set(buried))))
    receipt = Receipt(
        id=uuid4(),
        kind=subject.kind,
        subject=subject.digest,
        requested_by=requested_by,
        erased_at=erased_at,
        verdicts=len(judged),
        reviews=reviewed,
        dead_letters=len(buried),
        tombstones=len(stones.review) + len(stones.dead),
    )
    connection.execute(insert(erasures).values({name: getattr(receipt, name) for name in receipt.__slots__}))
    publish(stones)
    return receipt


def _named(subject: Subject) -> set[str]:
    return {subject.id} if subject.kind == "upload" else set()


def _verdicts_of(subject: Subject, erased_at: datetime) -> sa.Executable:
    column = verdicts.c.upload_id if subject.kind == "upload" else verdicts.c.uploader_id
    chosen = [verdicts.c.tenant == subject.tenant, column == subject.id]
    if subject.kind == "uploader":
        chosen.append(verdicts.c.uploaded_at <= erased_at)
    return sa.delete(verdicts).where(*chosen).returning(verdicts.c.upload_id, verdicts.c.verdict)


def _delete_letters(connection: sa.Connection, subject: Subject, erased_at: datetime) -> list[str]:
    """Delete its dead letters; their upload ids. Who uploaded stands only in the record itself."""
    query = sa.select(dead_letters.c.id, dead_letters.c.upload_id, dead_letters.c.raw)
    query = query.where(dead_letters.c.tenant == subject.tenant)
    if subject.kind == "upload":
        query = query.where(dead_letters.c.upload_id == subject.id)
    found = connection.execute(query.execution_options(yield_per=1000))
    chosen = {
        row.id: row.upload_id
        for row in found
        if subject.kind == "upload" or _is_of(row.raw, row.upload_id, subject, erased_at)
    }
    ids = sa.any_(sa.bindparam("ids", list(chosen), ARRAY(sa.BigInteger)))
    connection.execute(sa.delete(dead_letters).where(dead_letters.c.id == ids))
    return list(chosen.values())


def _is_of(raw: bytes, upload_id: str, uploader: Subject, erased_at: datetime) -> bool:
    return any(
        isinstance(item, Upload)
        and (item.upload_id, item.uploader_id) == (upload_id, uploader.id)
        and item.uploaded_at <= erased_at
        for item in parse_record(raw)
    )


def _delete_of_uploads(
    connection: sa.Connection, table: sa.Table, tenant: str, uploads: Sequence[str]
) -> int:
    ids = sa.any_(sa.bindparam("ids", list(uploads), ARRAY(sa.Text)))
    gone = connection.execute(sa.delete(table).where(table.c.tenant == tenant, table.c.upload_id == ids))
    return gone.rowcount


def _mark_uploads(
    connection: sa.Connection, tenant: str, uploads: Sequence[str], erased_at: datetime
) -> None:
    """One by one too: a reviewer's label names the upload and not the uploader."""
    rows = [
        {"subject": Subject("upload", tenant, upload_id).digest, "erased_at": erased_at}
        for upload_id in uploads
    ]
    if rows:
        connection.execute(insert(erased).on_conflict_do_nothing(), rows)


def _keys(tenant: str, uploads: Iterable[str]) -> list[bytes]:
    """As Review.key and the dead letters' keys are made."""
    return [f"{tenant}/{upload_id}".encode() for upload_id in uploads]
