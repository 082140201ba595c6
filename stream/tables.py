"""The tables as they stand after the newest migration: what the queries of this package are built on.

`migrations/` makes them; a test fails where the two differ. Every column says in one sentence what it
holds, and that sentence is its COMMENT in the database.
"""

from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql as pg
from sqlalchemy.types import TypeEngine

metadata = sa.MetaData()

# Detectors with a column of their own; any other one goes into `extra`.
LOGIT_COLUMNS = ("pin_clip", "dgs_net", "masm")
MOMENT = sa.DateTime(timezone=True)


def _column(
    name: str, kind: TypeEngine[Any] | type[TypeEngine[Any]], comment: str, *more: Any, **options: Any
) -> sa.Column[Any]:
    return sa.Column(name, kind, *more, comment=comment, nullable=options.pop("nullable", False), **options)


FLAGGED_ROW = sa.text("verdict IN ('suspicious', 'synthetic')")

verdicts = sa.Table(
    "verdicts",
    metadata,
    _column("tenant", sa.Text, "Customer or site that the upload belongs to."),
    _column("upload_id", sa.Text, "Id of the upload, unique within its tenant."),
    _column("bundle", sa.Text, "Id of the detectors' bundle that scored it (bundles.id)."),
    _column("uploaded_at", MOMENT, "When the picture was uploaded; the partition key."),
    _column("verdict_id", sa.Uuid, "UUIDv5 of tenant, upload_id and bundle: the same on every replay."),
    _column("uploader_id", sa.Text, "Who uploaded it, where the event says so.", nullable=True),
    _column("uri", sa.Text, "Where the picture was read from."),
    _column("sha256", sa.Text, "SHA-256 of the file, hex; null where it could not be read.", nullable=True),
    _column("format", sa.Text, "File format as decoded; null where it could not be.", nullable=True),
    _column("width", sa.Integer, "Pixels, after EXIF orientation.", nullable=True),
    _column("height", sa.Integer, "Pixels, after EXIF orientation.", nullable=True),
    _column("frames", sa.Integer, "Frames in the file, not how many were sampled.", nullable=True),
    _column("verdict", sa.Text, "authentic, suspicious, synthetic, not_applicable or unable_to_evaluate."),
    _column("score", sa.Double, "Fused probability of synthetic, 0 to 1; null if not judged.", nullable=True),
    _column("pin_clip", sa.REAL, "Raw logit of PiN-CLIP; null if it did not run.", nullable=True),
    _column("dgs_net", sa.REAL, "Raw logit of DGS-Net; null if it did not run.", nullable=True),
    _column("masm", sa.REAL, "Raw logit of MASM; null if it did not run.", nullable=True),
    _column("extra", pg.JSONB(none_as_null=True), "Raw logits of further detectors, by name.", nullable=True),
    _column("reasons", pg.ARRAY(sa.Text), "Reason codes, see docs/reasons.md."),
    _column("policy", sa.Text, "Id of the policy whose thresholds decided (policies.id)."),
    _column("views_version", sa.Integer, "Version of the code that cut the views the detectors saw."),
    _column("decided_at", MOMENT, "When the verdict was reached."),
    _column("latency_ms", sa.Integer, "From receiving the event to the verdict, milliseconds."),
    _column("topic", sa.Text, "Kafka topic of the event."),
    _column("partition", sa.Integer, "Kafka partition of the event."),
    _column("offset", sa.BigInteger, "Kafka offset of the event."),
    sa.PrimaryKeyConstraint("tenant", "upload_id", "bundle", "uploaded_at"),
    sa.CheckConstraint(
        "verdict IN ('authentic', 'suspicious', 'synthetic', 'not_applicable', 'unable_to_evaluate')",
        name="verdicts_verdict_known",
    ),
    sa.CheckConstraint("score BETWEEN 0 AND 1", name="verdicts_score_is_probability"),
    # Each batch looks its ids up in every month: a hash takes half the time of a B-tree.
    sa.Index("verdicts_verdict_id", "verdict_id", postgresql_using="hash"),
    sa.Index("verdicts_decided", "decided_at", "verdict"),
    sa.Index(
        "verdicts_uploader",
        "tenant",
        "uploader_id",
        "uploaded_at",
        postgresql_where=sa.text("uploader_id IS NOT NULL"),
    ),
    sa.Index(
        "verdicts_flagged_by_uploader",
        "uploaded_at",
        "tenant",
        "uploader_id",
        postgresql_where=FLAGGED_ROW,
    ),
    comment="One judged upload a row; partitioned by month of uploaded_at.",
    postgresql_partition_by="RANGE (uploaded_at)",
)

bundles = sa.Table(
    "bundles",
    metadata,
    _column("id", sa.Text, "First 16 hex digits of the SHA-256 of the bundle's manifest.", primary_key=True),
    _column("name", sa.Text, "Name that the bundle was published under."),
    _column("manifest", pg.JSONB, "The manifest as published: detectors, calibration, metrics, licences."),
    _column("registered_at", MOMENT, "When a worker first used it here.", server_default=sa.func.now()),
    comment="Every bundle of detectors that ever judged an upload here.",
)

policies = sa.Table(
    "policies",
    metadata,
    _column("id", sa.Text, "Name and first 12 hex digits of the SHA-256 of the content.", primary_key=True),
    _column("document", pg.JSONB, "Thresholds, their basis, and overrides by tenant."),
    _column("registered_at", MOMENT, "When a worker first used it here.", server_default=sa.func.now()),
    comment="Every set of thresholds that ever decided a verdict here.",
)

reviews = sa.Table(
    "reviews",
    metadata,
    _column("verdict_id", sa.Uuid, "The verdict that was looked at (verdicts.verdict_id)."),
    _column("reviewer", sa.Text, "Who decided."),
    _column("decided_at", MOMENT, "When the reviewer decided."),
    _column("tenant", sa.Text, "Customer or site that the upload belongs to."),
    _column("upload_id", sa.Text, "Id of the upload, unique within its tenant."),
    _column("decision", sa.Text, "synthetic, authentic or unsure."),
    _column("note", sa.Text, "What the reviewer wrote beside it.", nullable=True),
    _column("stored_at", MOMENT, "When the decision arrived here.", server_default=sa.func.now()),
    _column(
        "uploaded_at",
        MOMENT,
        "When the picture was uploaded; null if the decision came before its verdict or before 0004.",
        nullable=True,
    ),
    sa.PrimaryKeyConstraint("verdict_id", "reviewer", "decided_at"),
    sa.CheckConstraint("decision IN ('synthetic', 'authentic', 'unsure')", name="reviews_decision_known"),
    sa.Index("reviews_upload", "tenant", "upload_id"),
    sa.Index("reviews_uploaded", "uploaded_at"),
    comment="What reviewers decided; a reviewer may decide again, the newest decision holds.",
)

review_pending = sa.Table(
    "review_pending",
    metadata,
    _column("tenant", sa.Text, "Customer or site that the upload belongs to."),
    _column("upload_id", sa.Text, "Id of the upload, unique within its tenant."),
    _column("bundle", sa.Text, "Bundle of the verdict that waits."),
    _column("uploaded_at", MOMENT, "When the picture was uploaded; with the others the key in verdicts."),
    _column("score", sa.Double, "Score of the verdict that waits: the order of the queue."),
    _column("decided_at", MOMENT, "When that verdict was reached; a newer verdict takes its place."),
    sa.PrimaryKeyConstraint("tenant", "upload_id"),
    sa.Index("review_pending_score", sa.text("score DESC")),
    sa.Index("review_pending_tenant_score", "tenant", sa.text("score DESC")),
    comment="Uploads whose newest verdict is flagged and waits for a reviewer; see the view review_queue.",
)

daily_counts = sa.Table(
    "daily_counts",
    metadata,
    _column("day", sa.Date, "Day of decided_at, UTC."),
    _column("tenant", sa.Text, "Customer or site that the uploads belong to."),
    _column("bundle", sa.Text, "Id of the detectors' bundle that scored them (bundles.id)."),
    _column("policy", sa.Text, "Id of the policy whose thresholds decided (policies.id)."),
    _column("verdict", sa.Text, "authentic, suspicious, synthetic, not_applicable or unable_to_evaluate."),
    _column("uploads", sa.BigInteger, "Number of verdicts."),
    _column("scored", sa.BigInteger, "How many of them have a score."),
    _column("score_sum", sa.Double, "Sum of their scores."),
    _column("latency_ms_sum", sa.BigInteger, "Sum of latency_ms."),
    sa.PrimaryKeyConstraint("day", "tenant", "bundle", "policy", "verdict"),
    comment="Verdicts counted by day as they are stored; erasure and retention leave it as it is.",
)

dead_letters = sa.Table(
    "dead_letters",
    metadata,
    _column("id", sa.BigInteger, "Running number.", sa.Identity(always=True), primary_key=True),
    _column("topic", sa.Text, "Kafka topic of the record."),
    _column("partition", sa.Integer, "Kafka partition of the record."),
    _column("offset", sa.BigInteger, "Kafka offset of the record."),
    _column("item", sa.Text, "Part of the record: its upload id, or #index where that could not be read."),
    _column("tenant", sa.Text, "Tenant, where the record could be read that far.", nullable=True),
    _column("upload_id", sa.Text, "Upload id, where the record could be read that far.", nullable=True),
    _column("uri", sa.Text, "Where the picture is, if the record could be read that far.", nullable=True),
    _column("reason", sa.Text, "Reason code, see docs/reasons.md."),
    _column("detail", sa.Text, "What went wrong, in words."),
    _column("raw", sa.LargeBinary, "The record's value as it came."),
    _column("attempts", sa.Integer, "How often it was tried."),
    _column("died_at", MOMENT, "When it was given up.", server_default=sa.func.now()),
    _column("replayed_at", MOMENT, "When it was last sent in again; null if never.", nullable=True),
    _column("replays", sa.Integer, "How often it was sent in again.", server_default=sa.text("0")),
    _column("dropped_at", MOMENT, "When somebody dropped it: no more is needed.", nullable=True),
    _column("dropped_by", sa.Text, "Who dropped it.", nullable=True),
    _column("dropped_why", sa.Text, "Why.", nullable=True),
    sa.CheckConstraint(
        "num_nulls(dropped_at, dropped_by, dropped_why) IN (0, 3)", name="dead_letters_dropped_whole"
    ),
    sa.UniqueConstraint("topic", "partition", "offset", "item", name="dead_letters_origin"),
    sa.Index("dead_letters_upload", "tenant", "upload_id"),
    sa.Index("dead_letters_died", "died_at"),
    comment="Uploads that got no verdict, one a row, and why.",
)

erased = sa.Table(
    "erased",
    metadata,
    _column("subject", sa.LargeBinary, 'SHA-256 of ["upload" or "uploader", tenant, id].', primary_key=True),
    _column("erased_at", MOMENT, "When; of an uploader, uploads up to this moment are meant."),
    comment="What must not be stored again when its event is read again from Kafka.",
)

erasures = sa.Table(
    "erasures",
    metadata,
    _column("id", sa.Uuid, "Id of the receipt.", primary_key=True),
    _column("kind", sa.Text, "upload or uploader."),
    _column("subject", sa.LargeBinary, "As in erased.subject."),
    _column("requested_by", sa.Text, "Who had it done, as stated."),
    _column("erased_at", MOMENT, "When."),
    _column("verdicts", sa.Integer, "Rows of verdicts that were deleted."),
    _column("reviews", sa.Integer, "Rows of reviews that were deleted."),
    _column("dead_letters", sa.Integer, "Rows of dead_letters that were deleted."),
    _column("tombstones", sa.Integer, "Null-value records that were published for it."),
    sa.CheckConstraint("kind IN ('upload', 'uploader')", name="erasures_kind_known"),
    comment="Every erasure that was carried out, without personal data of whom it was about.",
)
