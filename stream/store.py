"""Store step: verdicts, dead letters and reviewers' labels into Postgres, each exactly once.

Replays are expected: after a crash the same uploads come again. What was stored first stays, and the
caller is told what stands in the row, so that what is published afterwards always agrees with it.
"""

import itertools
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from typing import Any
from uuid import UUID

import numpy as np
import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import JSON, insert

from models.bundle import Bundle
from stream import tables
from stream.database import connect, require_head, transaction
from stream.erasure import erased_keys, erased_uploads
from stream.errors import Undeliverable
from stream.events import Label, Upload
from stream.policy import Policy
from stream.reasons import Reason
from stream.tables import LOGIT_COLUMNS, dead_letters, reviews, verdicts
from stream.types import FLAGGED, DeadLetter, Job, Judgement, Outcome, PictureFacts, fields_of

Row = Mapping[str, Any]


class Store:
    """The database. Blocking; one thread at a time. Every method raises Outage while Postgres is away
    and works again once it is back, and ConfigError where the schema or a right is missing."""

    def __init__(self, database_url: str) -> None:
        self._engine = connect(database_url)
        self._views_version: int | None = None

    def open(self, bundle: Bundle, policy: Policy) -> None:
        """Check the schema and register what will judge: to be called before `write`."""
        manifest = bundle.manifest.model_dump(mode="json", by_alias=True)
        with transaction(self._engine) as connection:
            require_head(connection)
            named = {"id": bundle.id, "name": bundle.manifest.name, "manifest": manifest}
            connection.execute(insert(tables.bundles).values(named).on_conflict_do_nothing())
            written = {"id": policy.id, "document": dict(policy.document)}
            connection.execute(insert(tables.policies).values(written).on_conflict_do_nothing())
        self._views_version = bundle.manifest.views_version

    def write(self, outcomes: Sequence[Outcome]) -> list[Outcome | Undeliverable | None]:
        """Store verdicts in one transaction; what stands in the database now, in the same order.

        An upload that was judged by this bundle before keeps its first verdict, and that is returned.
        None stands in the place of an upload that was erased: nothing of it may be stored or told.
        Where Postgres refuses what a row holds, the others are stored all the same, and an
        Undeliverable (internal_error) stands in its place.
        """
        if not outcomes:
            return []
        try:
            return list(self._write_together(outcomes))
        except Undeliverable as refused:
            if len(outcomes) == 1:
                return [refused]
        half = len(outcomes) // 2
        return [*self.write(outcomes[:half]), *self.write(outcomes[half:])]

    def bury(self, letters: Sequence[DeadLetter]) -> list[bool]:
        """Store dead letters; whether each may be told of, in the same order.

        One that died at the same place before is stored already. One of an upload that was erased is left
        out, and nothing of it may be told. Where Postgres refuses what a letter holds, its place and the
        refusal are stored without the rest.
        """
        try:
            return self._bury_together(letters)
        except Undeliverable as refused:
            if len(letters) == 1:
                self._insert_new(dead_letters, [_bare_letter_row(letters[0], refused)])
                return [True]
        half = len(letters) // 2
        return [*self.bury(letters[:half]), *self.bury(letters[half:])]

    def label(self, labels: Sequence[Label]) -> None:
        """Store reviewers' decisions, and take their uploads out of the queue.

        A decision that came before is stored already, and one on an erased upload is left out.
        """
        if not labels:
            return
        with transaction(self._engine) as connection:
            gone = erased_keys(connection, {(one.tenant, one.upload_id) for one in labels})
            kept = [one for one in labels if (one.tenant, one.upload_id) not in gone]
            uploaded = _uploaded(connection, kept)
            rows = [_label_row(one, uploaded.get(one.verdict_id)) for one in kept]
            if rows:
                connection.execute(insert(reviews).on_conflict_do_nothing(), rows)
                _settle(connection, [_settling(one.tenant, one.upload_id, "infinity") for one in kept])

    def close(self) -> None:
        """Close the connections."""
        self._engine.dispose()

    def _insert_new(self, table: sa.Table, rows: list[dict[str, Any]]) -> None:
        if rows:
            with transaction(self._engine) as connection:
                connection.execute(insert(table).on_conflict_do_nothing(), rows)

    def _bury_together(self, letters: Sequence[DeadLetter]) -> list[bool]:
        if not letters:
            return []
        with transaction(self._engine) as connection:
            gone = erased_uploads(connection, [one.upload for one in letters if one.upload])
            kept = [one.upload is None or _key(one.upload) not in gone for one in letters]
            rows = [_letter_row(letter) for letter in itertools.compress(letters, kept)]
            if rows:
                connection.execute(insert(dead_letters).on_conflict_do_nothing(), rows)
        return kept

    def _write_together(self, outcomes: Sequence[Outcome]) -> Iterable[Outcome | None]:
        if self._views_version is None:
            raise RuntimeError("Store.write before Store.open")
        with transaction(self._engine) as connection:
            gone = erased_uploads(connection, [outcome.job.upload for outcome in outcomes])
            kept = [outcome for outcome in outcomes if _key(outcome.job.upload) not in gone]
            ours = {outcome.verdict_id: outcome for outcome in reversed(kept)}  # the first of equals stays
            stored = _stored(connection, list(ours))
            # In the order of their ids: two workers with the same rows then wait, but never deadlock.
            fresh = [_row(ours[key], self._views_version) for key in sorted(ours.keys() - stored.keys())]
            if fresh:
                inserted = _insert_verdicts(connection, fresh)
                overtaken = [row["verdict_id"] for row in fresh if row["verdict_id"] not in inserted]
                stored |= _stored(connection, overtaken)
                _queue(connection, [row for row in fresh if row["verdict_id"] in inserted])
        return [
            _settled(outcome, ours[outcome.verdict_id], stored) if outcome.verdict_id in ours else None
            for outcome in outcomes
        ]


def _key(upload: Upload) -> tuple[str, str]:
    return upload.tenant, upload.upload_id


def _queue(connection: sa.Connection, rows: Sequence[Row]) -> None:
    """Newer verdicts take the place of older ones in the review queue, or clear them."""
    flagged = [row for row in rows if row["verdict"] in FLAGGED]
    cleared = [row for row in rows if row["verdict"] not in FLAGGED]
    _settle(connection, [_settling(row["tenant"], row["upload_id"], row["decided_at"]) for row in cleared])
    if flagged:
        ordered = sorted(flagged, key=lambda row: (row["tenant"], row["upload_id"]))
        connection.execute(_QUEUE, {"rows": ordered})


def _settling(tenant: str, upload_id: str, decided_at: str) -> dict[str, str]:
    return {"tenant": tenant, "upload_id": upload_id, "decided_at": decided_at}


def _settle(connection: sa.Connection, uploads: Sequence[Mapping[str, str]]) -> None:
    """Take out of the review queue what was decided before: rows as of `_settling`."""
    if uploads:
        connection.execute(_SETTLE, {"rows": uploads})


_QUEUE = sa.text(
    """
    INSERT INTO review_pending
    SELECT waiting.*
    FROM json_populate_recordset(CAST(NULL AS review_pending), :rows) AS waiting
    WHERE NOT EXISTS (
        SELECT FROM reviews
        WHERE reviews.tenant = waiting.tenant AND reviews.upload_id = waiting.upload_id
    )
    ON CONFLICT (tenant, upload_id) DO UPDATE
    SET bundle = excluded.bundle, uploaded_at = excluded.uploaded_at,
        score = excluded.score, decided_at = excluded.decided_at
    WHERE review_pending.decided_at < excluded.decided_at
    """
).bindparams(sa.bindparam("rows", type_=JSON))

_SETTLE = sa.text(
    """
    DELETE FROM review_pending AS pending
    USING json_to_recordset(:rows) AS settled (tenant text, upload_id text, decided_at timestamptz)
    WHERE pending.tenant = settled.tenant AND pending.upload_id = settled.upload_id
        AND pending.decided_at < settled.decided_at
    """
).bindparams(sa.bindparam("rows", type_=JSON))


def _stored(connection: sa.Connection, ids: Sequence[str]) -> dict[str, Row]:
    """The rows that there are under these verdict_ids, by verdict_id."""
    if not ids:
        return {}
    found = connection.execute(_STORED, {"ids": ",".join(ids)}).mappings()
    return {str(row["verdict_id"]): dict(row) for row in found}


# Every month is looked into: an event may come again with another uploaded_at. Oldest last, so that it wins
# where there are several all the same. One text, because an array of 256 costs the driver twice the CPU;
# the sub-select, because it is taken apart once and not in every month.
_AMONG = sa.text(
    "verdict_id = ANY (ARRAY(SELECT CAST(id AS uuid) FROM unnest(string_to_array(:ids, ',')) AS id))"
)
_STORED = sa.select(verdicts).where(_AMONG).order_by(verdicts.c.decided_at.desc())
_UPLOADED = sa.select(verdicts.c.verdict_id, verdicts.c.uploaded_at).where(_AMONG)


def _insert_verdicts(connection: sa.Connection, rows: list[dict[str, Any]]) -> set[str]:
    """Insert what is new; the verdict_ids of the rows that are now ours."""
    return set(connection.execute(_INSERT, {"rows": rows}).scalars())


def _insert_statement() -> sa.Executable:
    """All rows of a batch as one JSON parameter, which Postgres takes apart again.

    A parameter a value (256 rows x 26 columns) cost the worker 18 times the CPU in the driver. As jsonb
    Postgres would build a tree of it first, at twice the cost.
    """
    names = [column.name for column in verdicts.columns]
    rows = sa.bindparam("rows", type_=JSON)
    record = sa.func.json_populate_recordset(sa.text("CAST(NULL AS verdicts)"), rows)
    incoming = record.table_valued(*(sa.column(column.name, column.type) for column in verdicts.columns))
    statement = insert(verdicts).from_select(names, sa.select(*incoming.c))
    return statement.on_conflict_do_nothing().returning(sa.cast(verdicts.c.verdict_id, sa.Text))


_INSERT = _insert_statement()


def _row(outcome: Outcome, views_version: int) -> dict[str, Any]:
    """The row as JSON holds it: floats keep every bit, times are written out with their zone."""
    upload, judgement, facts = outcome.job.upload, outcome.judgement, outcome.facts
    extra = {name: value for name, value in judgement.logits.items() if name not in LOGIT_COLUMNS}
    return {
        "tenant": upload.tenant,
        "upload_id": upload.upload_id,
        "bundle": outcome.bundle,
        "uploaded_at": upload.uploaded_at.isoformat(),
        "verdict_id": outcome.verdict_id,
        "uploader_id": upload.uploader_id,
        "uri": upload.uri,
        "sha256": outcome.sha256,
        **fields_of(facts),
        "verdict": judgement.verdict,
        "score": judgement.score,
        **{name: judgement.logits.get(name) for name in LOGIT_COLUMNS},
        "extra": extra or None,
        "reasons": [str(reason) for reason in judgement.reasons],
        "policy": judgement.policy,
        "views_version": views_version,
        "decided_at": outcome.decided_at.isoformat(),
        "latency_ms": outcome.latency_ms,
        "topic": outcome.job.origin.topic,
        "partition": outcome.job.origin.partition,
        "offset": outcome.job.origin.offset,
    }


def _settled(outcome: Outcome, written: Outcome, stored: Mapping[str, Row]) -> Outcome:
    """The outcome as it stands in the database, at the place in Kafka where this one came from."""
    row = stored.get(outcome.verdict_id)
    if row is None and written is outcome:
        return outcome
    if row is None:  # the batch holds the upload twice, and the other one went in
        return replace(written, job=replace(written.job, origin=outcome.job.origin))
    return replace(
        outcome,
        job=_job_of(row, outcome.job),
        judgement=_judgement_of(row, outcome.judgement),
        decided_at=row["decided_at"],
        latency_ms=row["latency_ms"],
        sha256=row["sha256"],
        facts=_facts_of(row),
    )


def _job_of(row: Row, job: Job) -> Job:
    fields = {name: row[name] for name in ("uri", "uploaded_at", "uploader_id")}
    return replace(job, upload=job.upload.model_copy(update=fields))


def _judgement_of(row: Row, ours: Judgement) -> Judgement:
    extra = row["extra"] or {}
    logits = {name: _logit(row[name]) if name in LOGIT_COLUMNS else extra.get(name) for name in ours.logits}
    reasons = tuple(Reason(reason) for reason in row["reasons"])
    return Judgement(row["verdict"], row["score"], logits, reasons, row["policy"])


def _logit(value: float | None) -> float | None:
    # `real` arrives as its shortest decimal; the float32 behind it is what was written.
    return None if value is None else float(np.float32(value))


def _facts_of(row: Row) -> PictureFacts | None:
    if row["format"] is None:
        return None
    return PictureFacts(row["format"], row["width"], row["height"], row["frames"])


def _uploaded(connection: sa.Connection, labels: Sequence[Label]) -> dict[UUID, datetime]:
    """When the pictures were uploaded, by verdict_id, where their verdicts are stored already."""
    found = connection.execute(_UPLOADED, {"ids": ",".join(str(one.verdict_id) for one in labels)})
    return {row.verdict_id: row.uploaded_at for row in found}


def _label_row(label: Label, uploaded_at: datetime | None) -> dict[str, Any]:
    return {
        **label.model_dump(exclude={"schema_"}),
        "note": _clean(label.note),
        "uploaded_at": uploaded_at,
    }


def _letter_row(letter: DeadLetter) -> dict[str, Any]:
    upload, origin = letter.upload, letter.origin
    return {
        "topic": origin.topic,
        "partition": origin.partition,
        "offset": origin.offset,
        "item": upload.upload_id if upload else f"#{letter.index}",
        "tenant": upload.tenant if upload else None,
        "upload_id": upload.upload_id if upload else None,
        "uri": upload.uri if upload else None,
        "reason": str(letter.reason),
        "detail": _clean(letter.detail),
        "raw": letter.raw,
        "attempts": letter.attempts,
    }


def _bare_letter_row(letter: DeadLetter, refused: Undeliverable) -> dict[str, Any]:
    """What the audit needs of a letter that Postgres refuses: its place, and why the rest is missing."""
    left_out = {"tenant": None, "upload_id": None, "uri": None, "raw": b""}
    said = f"{letter.reason}; {refused.detail}"
    detail = f"{said}; the record is still in the topic {letter.origin.topic}, for as long as that keeps it"
    return {**_letter_row(letter), **left_out, "reason": str(Reason.INTERNAL_ERROR), "detail": _clean(detail)}


def _clean(text: str | None) -> str | None:
    """Text as Postgres takes it: without NUL characters and lone surrogates, which a file may well hold."""
    return text and text.encode(errors="replace").decode().replace("\0", "\N{REPLACEMENT CHARACTER}")
