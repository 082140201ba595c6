-- Tables of pixassay. stream/tables.py describes them to Python; a test holds the two together.

-- One judged upload a row. The partition key has to be part of the primary key; that a row is unique by
-- tenant, upload_id and bundle alone is kept by the writer (stream/store.py), which looks for an earlier
-- row first. There are no foreign keys on this table: a worker registers its bundle and policy before it
-- writes, and a look-up a row would buy nothing.
CREATE TABLE verdicts (
    tenant text NOT NULL,
    upload_id text NOT NULL,
    bundle text NOT NULL,
    uploaded_at timestamptz NOT NULL,
    verdict_id uuid NOT NULL,
    uploader_id text,
    uri text NOT NULL,
    sha256 text,
    format text,
    width integer,
    height integer,
    frames integer,
    verdict text NOT NULL,
    score double precision,
    pin_clip real,
    dgs_net real,
    masm real,
    extra jsonb,
    reasons text[] NOT NULL,
    policy text NOT NULL,
    views_version integer NOT NULL,
    decided_at timestamptz NOT NULL,
    latency_ms integer NOT NULL,
    topic text NOT NULL,
    partition integer NOT NULL,
    "offset" bigint NOT NULL,
    PRIMARY KEY (tenant, upload_id, bundle, uploaded_at),
    CONSTRAINT verdicts_verdict_known CHECK (
        verdict IN ('authentic', 'suspicious', 'synthetic', 'not_applicable', 'unable_to_evaluate')
    ),
    CONSTRAINT verdicts_score_is_probability CHECK (score BETWEEN 0 AND 1)
) PARTITION BY RANGE (uploaded_at);

CREATE INDEX verdicts_decided ON verdicts (decided_at, verdict);
CREATE INDEX verdicts_flagged_by_score ON verdicts (score DESC)
    WHERE verdict IN ('suspicious', 'synthetic');
CREATE INDEX verdicts_flagged_by_uploader ON verdicts (uploaded_at, tenant, uploader_id)
    WHERE verdict IN ('suspicious', 'synthetic');
CREATE INDEX verdicts_verdict_id ON verdicts (verdict_id);

COMMENT ON TABLE verdicts IS 'One judged upload a row; partitioned by month of uploaded_at.';
COMMENT ON COLUMN verdicts.tenant IS 'Customer or site that the upload belongs to.';
COMMENT ON COLUMN verdicts.upload_id IS 'Id of the upload, unique within its tenant.';
COMMENT ON COLUMN verdicts.bundle IS 'Id of the detectors'' bundle that scored it (bundles.id).';
COMMENT ON COLUMN verdicts.uploaded_at IS 'When the picture was uploaded; the partition key.';
COMMENT ON COLUMN verdicts.verdict_id IS 'UUIDv5 of tenant, upload_id and bundle: the same on every replay.';
COMMENT ON COLUMN verdicts.uploader_id IS 'Who uploaded it, where the event says so.';
COMMENT ON COLUMN verdicts.uri IS 'Where the picture was read from.';
COMMENT ON COLUMN verdicts.sha256 IS 'SHA-256 of the file, hex; null where it could not be read.';
COMMENT ON COLUMN verdicts.format IS 'File format as decoded; null where it could not be.';
COMMENT ON COLUMN verdicts.width IS 'Pixels, after EXIF orientation.';
COMMENT ON COLUMN verdicts.height IS 'Pixels, after EXIF orientation.';
COMMENT ON COLUMN verdicts.frames IS 'Frames in the file, not how many were sampled.';
COMMENT ON COLUMN verdicts.verdict IS 'authentic, suspicious, synthetic, not_applicable or unable_to_evaluate.';
COMMENT ON COLUMN verdicts.score IS 'Fused probability of synthetic, 0 to 1; null if not judged.';
COMMENT ON COLUMN verdicts.pin_clip IS 'Raw logit of PiN-CLIP; null if it did not run.';
COMMENT ON COLUMN verdicts.dgs_net IS 'Raw logit of DGS-Net; null if it did not run.';
COMMENT ON COLUMN verdicts.masm IS 'Raw logit of MASM; null if it did not run.';
COMMENT ON COLUMN verdicts.extra IS 'Raw logits of further detectors, by name.';
COMMENT ON COLUMN verdicts.reasons IS 'Reason codes, see docs/reasons.md.';
COMMENT ON COLUMN verdicts.policy IS 'Id of the policy whose thresholds decided (policies.id).';
COMMENT ON COLUMN verdicts.views_version IS 'Version of the code that cut the views the detectors saw.';
COMMENT ON COLUMN verdicts.decided_at IS 'When the verdict was reached.';
COMMENT ON COLUMN verdicts.latency_ms IS 'From receiving the event to the verdict, milliseconds.';
COMMENT ON COLUMN verdicts.topic IS 'Kafka topic of the event.';
COMMENT ON COLUMN verdicts.partition IS 'Kafka partition of the event.';
COMMENT ON COLUMN verdicts."offset" IS 'Kafka offset of the event.';

CREATE TABLE bundles (
    id text NOT NULL,
    name text NOT NULL,
    manifest jsonb NOT NULL,
    registered_at timestamptz DEFAULT now() NOT NULL,
    PRIMARY KEY (id)
);

COMMENT ON TABLE bundles IS 'Every bundle of detectors that ever judged an upload here.';
COMMENT ON COLUMN bundles.id IS 'First 16 hex digits of the SHA-256 of the bundle''s manifest.';
COMMENT ON COLUMN bundles.name IS 'Name that the bundle was published under.';
COMMENT ON COLUMN bundles.manifest IS 'The manifest as published: detectors, calibration, metrics, licences.';
COMMENT ON COLUMN bundles.registered_at IS 'When a worker first used it here.';

CREATE TABLE policies (
    id text NOT NULL,
    document jsonb NOT NULL,
    registered_at timestamptz DEFAULT now() NOT NULL,
    PRIMARY KEY (id)
);

COMMENT ON TABLE policies IS 'Every set of thresholds that ever decided a verdict here.';
COMMENT ON COLUMN policies.id IS 'Name and first 12 hex digits of the SHA-256 of the content.';
COMMENT ON COLUMN policies.document IS 'Thresholds, their basis, and overrides by tenant.';
COMMENT ON COLUMN policies.registered_at IS 'When a worker first used it here.';

-- A label may arrive before the verdict that it is about, so verdict_id is no foreign key.
CREATE TABLE reviews (
    verdict_id uuid NOT NULL,
    reviewer text NOT NULL,
    decided_at timestamptz NOT NULL,
    tenant text NOT NULL,
    upload_id text NOT NULL,
    decision text NOT NULL,
    note text,
    stored_at timestamptz DEFAULT now() NOT NULL,
    PRIMARY KEY (verdict_id, reviewer, decided_at),
    CONSTRAINT reviews_decision_known CHECK (decision IN ('synthetic', 'authentic', 'unsure'))
);

CREATE INDEX reviews_upload ON reviews (tenant, upload_id);

COMMENT ON TABLE reviews IS 'What reviewers decided; a reviewer may decide again, the newest decision holds.';
COMMENT ON COLUMN reviews.verdict_id IS 'The verdict that was looked at (verdicts.verdict_id).';
COMMENT ON COLUMN reviews.reviewer IS 'Who decided.';
COMMENT ON COLUMN reviews.decided_at IS 'When the reviewer decided.';
COMMENT ON COLUMN reviews.tenant IS 'Customer or site that the upload belongs to.';
COMMENT ON COLUMN reviews.upload_id IS 'Id of the upload, unique within its tenant.';
COMMENT ON COLUMN reviews.decision IS 'synthetic, authentic or unsure.';
COMMENT ON COLUMN reviews.note IS 'What the reviewer wrote beside it.';
COMMENT ON COLUMN reviews.stored_at IS 'When the decision arrived here.';

-- The origin is unique, so that a record that dies again on a replay is stored once.
CREATE TABLE dead_letters (
    id bigint GENERATED ALWAYS AS IDENTITY,
    topic text NOT NULL,
    partition integer NOT NULL,
    "offset" bigint NOT NULL,
    item text NOT NULL,
    tenant text,
    upload_id text,
    uri text,
    reason text NOT NULL,
    detail text NOT NULL,
    raw bytea NOT NULL,
    attempts integer NOT NULL,
    died_at timestamptz DEFAULT now() NOT NULL,
    replayed_at timestamptz,
    PRIMARY KEY (id),
    CONSTRAINT dead_letters_origin UNIQUE (topic, partition, "offset", item)
);

CREATE INDEX dead_letters_died ON dead_letters (died_at);
CREATE INDEX dead_letters_upload ON dead_letters (tenant, upload_id);

COMMENT ON TABLE dead_letters IS 'Uploads that got no verdict, one a row, and why.';
COMMENT ON COLUMN dead_letters.id IS 'Running number.';
COMMENT ON COLUMN dead_letters.topic IS 'Kafka topic of the record.';
COMMENT ON COLUMN dead_letters.partition IS 'Kafka partition of the record.';
COMMENT ON COLUMN dead_letters."offset" IS 'Kafka offset of the record.';
COMMENT ON COLUMN dead_letters.item IS 'Part of the record: its upload id, or #index where that could not be read.';
COMMENT ON COLUMN dead_letters.tenant IS 'Tenant, where the record could be read that far.';
COMMENT ON COLUMN dead_letters.upload_id IS 'Upload id, where the record could be read that far.';
COMMENT ON COLUMN dead_letters.uri IS 'Where the picture is, if the record could be read that far.';
COMMENT ON COLUMN dead_letters.reason IS 'Reason code, see docs/reasons.md.';
COMMENT ON COLUMN dead_letters.detail IS 'What went wrong, in words.';
COMMENT ON COLUMN dead_letters.raw IS 'The record''s value as it came.';
COMMENT ON COLUMN dead_letters.attempts IS 'How often it was tried.';
COMMENT ON COLUMN dead_letters.died_at IS 'When it was given up.';
COMMENT ON COLUMN dead_letters.replayed_at IS 'When it was last sent in again; null if never.';

-- Takes what no month's partition takes: very old uploads, wrong clocks, months not made in time.
CREATE TABLE verdicts_default (LIKE verdicts INCLUDING ALL);
ALTER TABLE verdicts ATTACH PARTITION verdicts_default DEFAULT;
