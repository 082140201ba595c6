-- What a history of many million rows needs: a review queue that does not look at it, erasures, and what
-- became of dead letters.

-- The queue as a table of its own. Read off `verdicts`, it grew slow the better the team did its work: all
-- that reviewers had settled stood before what waits. It may hold an upload too many (a label can arrive in
-- the same instant as its verdict), never one too few; the view below looks again.
CREATE TABLE review_pending (
    tenant text NOT NULL,
    upload_id text NOT NULL,
    bundle text NOT NULL,
    uploaded_at timestamptz NOT NULL,
    score double precision NOT NULL,
    decided_at timestamptz NOT NULL,
    PRIMARY KEY (tenant, upload_id)
);

CREATE INDEX review_pending_score ON review_pending (score DESC);
CREATE INDEX review_pending_tenant_score ON review_pending (tenant, score DESC);

COMMENT ON TABLE review_pending IS 'Uploads whose newest verdict is flagged and waits for a reviewer; see the view review_queue.';
COMMENT ON COLUMN review_pending.tenant IS 'Customer or site that the upload belongs to.';
COMMENT ON COLUMN review_pending.upload_id IS 'Id of the upload, unique within its tenant.';
COMMENT ON COLUMN review_pending.bundle IS 'Bundle of the verdict that waits.';
COMMENT ON COLUMN review_pending.uploaded_at IS 'When the picture was uploaded; with the others the key in verdicts.';
COMMENT ON COLUMN review_pending.score IS 'Score of the verdict that waits: the order of the queue.';
COMMENT ON COLUMN review_pending.decided_at IS 'When that verdict was reached; a newer verdict takes its place.';

INSERT INTO review_pending
SELECT DISTINCT ON (tenant, upload_id) tenant, upload_id, bundle, uploaded_at, score, decided_at
FROM review_queue
WHERE score IS NOT NULL
ORDER BY tenant, upload_id, decided_at DESC;

CREATE OR REPLACE VIEW review_queue AS
SELECT
    flagged.verdict_id, pending.tenant, pending.upload_id, flagged.uploader_id, flagged.uri,
    flagged.verdict, pending.score, flagged.pin_clip, flagged.dgs_net, flagged.masm, flagged.extra,
    flagged.reasons, flagged.bundle, flagged.policy, flagged.uploaded_at, flagged.decided_at
FROM review_pending AS pending
JOIN verdicts AS flagged USING (tenant, upload_id, bundle, uploaded_at)
WHERE NOT EXISTS (
    SELECT FROM reviews
    WHERE reviews.tenant = pending.tenant AND reviews.upload_id = pending.upload_id
)
AND NOT EXISTS (
    SELECT FROM verdicts AS newer
    WHERE newer.tenant = pending.tenant AND newer.upload_id = pending.upload_id
        AND newer.decided_at > pending.decided_at
);

DROP INDEX verdicts_flagged_by_score;

-- All that one uploader sent in: what investigators ask, and what an erasure has to find.
CREATE INDEX verdicts_uploader ON verdicts (tenant, uploader_id, uploaded_at) WHERE uploader_id IS NOT NULL;

ALTER TABLE dead_letters
    ADD COLUMN replays integer NOT NULL DEFAULT 0,
    ADD COLUMN dropped_at timestamptz,
    ADD COLUMN dropped_by text,
    ADD COLUMN dropped_why text,
    ADD CONSTRAINT dead_letters_dropped_whole
        CHECK (num_nulls(dropped_at, dropped_by, dropped_why) IN (0, 3));

COMMENT ON COLUMN dead_letters.replays IS 'How often it was sent in again.';
COMMENT ON COLUMN dead_letters.dropped_at IS 'When somebody dropped it: no more is needed.';
COMMENT ON COLUMN dead_letters.dropped_by IS 'Who dropped it.';
COMMENT ON COLUMN dead_letters.dropped_why IS 'Why.';

-- Hashes only: who is not told an id cannot read it here. One row an upload, and one an uploader.
CREATE TABLE erased (
    subject bytea NOT NULL,
    erased_at timestamptz NOT NULL,
    PRIMARY KEY (subject)
);

COMMENT ON TABLE erased IS 'What must not be stored again when its event is read again from Kafka.';
COMMENT ON COLUMN erased.subject IS 'SHA-256 of ["upload" or "uploader", tenant, id].';
COMMENT ON COLUMN erased.erased_at IS 'When; of an uploader, uploads up to this moment are meant.';

CREATE TABLE erasures (
    id uuid NOT NULL,
    kind text NOT NULL,
    subject bytea NOT NULL,
    requested_by text NOT NULL,
    erased_at timestamptz NOT NULL,
    verdicts integer NOT NULL,
    reviews integer NOT NULL,
    dead_letters integer NOT NULL,
    tombstones integer NOT NULL,
    PRIMARY KEY (id),
    CONSTRAINT erasures_kind_known CHECK (kind IN ('upload', 'uploader'))
);

COMMENT ON TABLE erasures IS 'Every erasure that was carried out, without personal data of whom it was about.';
COMMENT ON COLUMN erasures.id IS 'Id of the receipt.';
COMMENT ON COLUMN erasures.kind IS 'upload or uploader.';
COMMENT ON COLUMN erasures.subject IS 'As in erased.subject.';
COMMENT ON COLUMN erasures.requested_by IS 'Who had it done, as stated.';
COMMENT ON COLUMN erasures.erased_at IS 'When.';
COMMENT ON COLUMN erasures.verdicts IS 'Rows of verdicts that were deleted.';
COMMENT ON COLUMN erasures.reviews IS 'Rows of reviews that were deleted.';
COMMENT ON COLUMN erasures.dead_letters IS 'Rows of dead_letters that were deleted.';
COMMENT ON COLUMN erasures.tombstones IS 'Null-value records that were published for it.';
