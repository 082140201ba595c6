"""Erasure: what is known of one upload, or of all uploads of one uploader, is deleted and does not come back.

Kafka keeps the events for as long as its retention says, and a replay would store them again. So an
erasure leaves a mark: the SHA-256 of what was erased. The store and the audit ask for marks.
"""

import hashlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Literal
from uuid import UUID, uuid4

import orjson
import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import ARRAY, insert
from sqlalchemy.types import TypeEngine

from stream.database import connect, require_head, transaction
from stream.events import Upload, parse_record, place_key, speaks_of, upload_key
from stream.tables import dead_letters, erased, erasures, review_pending, reviews, verdicts
from stream.types import FLAGGED

RECEIPT_SCHEMA = "pixassay.erasure/1"
Kind = Literal["upload", "uploader"]
Key = tuple[str, str]  # tenant, upload_id
Letter = Mapping[Any, Any]  # a row of dead_letters


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
    found = connection.execute(_MARKS, {"subjects": ",".join(one.hex() for one in digests)})
    return {bytes(subject): erased_at for subject, erased_at in found}


# One text for all digests: an array of 512 of them cost the driver 3 ms of CPU a batch, ten times as much.
_MARKS = sa.text(
    """
    SELECT subject, erased_at
    FROM erased
    WHERE subject = ANY (
        ARRAY(SELECT decode(digest, 'hex') FROM unnest(string_to_array(:subjects, ',')) AS digest)
    )
    """
)


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


def rehearse(database_url: str, subject: Subject, requested_by: str) -> Receipt:
    """The receipt that `erase` would give now; all is as before. Raises Outage or ConfigError."""
    engine = connect(database_url)
    try:
        with transaction(engine) as connection:
            require_head(connection)
            connection.execute(sa.text("SET LOCAL statement_timeout = '10min'"))
            with connection.begin_nested() as undone:
                receipt = _delete(connection, subject, requested_by, datetime.now(UTC), lambda _: None)
                undone.rollback()
            return receipt
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
    letters = _letters_of(connection, subject, erased_at)
    _erase_letters(connection, letters)
    named = {subject.id} if subject.kind == "upload" else set()
    buried = {letter["upload_id"] for letter in letters if letter["upload_id"] is not None}
    uploads = sorted({upload_id for upload_id, _ in judged} | buried | named)
    reviewed = _delete_of_uploads(connection, reviews, subject.tenant, uploads)
    _delete_of_uploads(connection, review_pending, subject.tenant, uploads)
    _mark_uploads(connection, subject.tenant, uploads, erased_at)
    # Of an upload that is named, always: what an earlier run overlooked is then made good by another.
    flagged = {upload_id for upload_id, verdict in judged if verdict in FLAGGED} | named
    stones = Tombstones(
        review=[upload_key(subject.tenant, upload_id) for upload_id in sorted(flagged)],
        dead=sorted(
            {_key_of(letter) for letter in letters} | {upload_key(subject.tenant, id_) for id_ in named}
        ),
    )
    receipt = Receipt(
        id=uuid4(),
        kind=subject.kind,
        subject=subject.digest,
        requested_by=requested_by,
        erased_at=erased_at,
        verdicts=len(judged),
        reviews=reviewed,
        dead_letters=len(letters),
        tombstones=len(stones.review) + len(stones.dead),
    )
    connection.execute(insert(erasures).values({name: getattr(receipt, name) for name in receipt.__slots__}))
    publish(stones)
    return receipt


def _verdicts_of(subject: Subject, erased_at: datetime) -> sa.Executable:
    column = verdicts.c.upload_id if subject.kind == "upload" else verdicts.c.uploader_id
    chosen = [verdicts.c.tenant == subject.tenant, column == subject.id]
    if subject.kind == "uploader":
        chosen.append(verdicts.c.uploaded_at <= erased_at)
    return sa.delete(verdicts).where(*chosen).returning(verdicts.c.upload_id, verdicts.c.verdict)


def _letters_of(connection: sa.Connection, subject: Subject, erased_at: datetime) -> list[Letter]:
    """Its dead letters. Who uploaded stands only in the record itself, and of a record that could not be
    read all stands there alone, so those are looked through."""
    columns = (dead_letters.c[name] for name in ("id", "topic", "partition", "offset", "tenant", "upload_id"))
    own = dead_letters.c.tenant == subject.tenant
    if subject.kind == "upload":
        own &= dead_letters.c.upload_id == subject.id
    query = sa.select(*columns, dead_letters.c.raw).where(own | dead_letters.c.tenant.is_(None))
    found = connection.execute(query.execution_options(yield_per=100)).mappings()
    # Without the record's value, which may be large.
    return [{**row, "raw": None} for row in found if _is_of(row, subject, erased_at)]


def _is_of(letter: Letter, subject: Subject, erased_at: datetime) -> bool:
    if letter["upload_id"] is None:
        return speaks_of(letter["raw"], subject.tenant, subject.id)
    return subject.kind == "upload" or any(
        isinstance(item, Upload)
        and (item.upload_id, item.uploader_id) == (letter["upload_id"], subject.id)
        and item.uploaded_at <= erased_at
        for item in parse_record(letter["raw"])
    )


def _erase_letters(connection: sa.Connection, letters: Sequence[Letter]) -> None:
    """Delete them. Of a record that could not be read, its place stays, for the audit, and nothing else."""
    whole, bare = (
        [one["id"] for one in letters if (one["upload_id"] is None) is told] for told in (False, True)
    )
    connection.execute(sa.delete(dead_letters).where(dead_letters.c.id == _any("ids", whole, sa.BigInteger)))
    emptied = sa.update(dead_letters).where(dead_letters.c.id == _any("ids", bare, sa.BigInteger))
    connection.execute(emptied.values(raw=b"", detail="erased"))


def _key_of(letter: Letter) -> bytes:
    """As stream/flag.py has published it."""
    if letter["upload_id"] is None:
        return place_key(letter["topic"], letter["partition"], letter["offset"])
    return upload_key(letter["tenant"], letter["upload_id"])


def _delete_of_uploads(
    connection: sa.Connection, table: sa.Table, tenant: str, uploads: Sequence[str]
) -> int:
    ids = _any("ids", uploads, sa.Text)
    gone = connection.execute(sa.delete(table).where(table.c.tenant == tenant, table.c.upload_id == ids))
    return gone.rowcount


def _any(name: str, values: Sequence[object], kind: type[TypeEngine[Any]]) -> sa.ColumnElement[Any]:
    return sa.any_(sa.bindparam(name, list(values), ARRAY(kind)))


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
