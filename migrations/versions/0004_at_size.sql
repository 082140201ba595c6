-- Counts by day. Read off `verdicts`, a year of ten million rows took seconds, and a month that retention
-- drops took its days along. They are kept by a trigger and not by the writer, so that a worker of an
-- earlier release, still running during an upgrade, is counted too.

CREATE TABLE daily_counts (
    day date NOT NULL,
    tenant text NOT NULL,
    bundle text NOT NULL,
    policy text NOT NULL,
    verdict text NOT NULL,
    uploads bigint NOT NULL,
    scored bigint NOT NULL,
    score_sum double precision NOT NULL,
    latency_ms_sum bigint NOT NULL,
    PRIMARY KEY (day, tenant, bundle, policy, verdict)
) WITH (fillfactor = 50); -- the rows of today change with every batch: room to do it on their own page

COMMENT ON TABLE daily_counts IS 'Verdicts counted by day as they are stored; erasure and retention leave it as it is.';
COMMENT ON COLUMN daily_counts.day IS 'Day of decided_at, UTC.';
COMMENT ON COLUMN daily_counts.tenant IS 'Customer or site that the uploads belong to.';
COMMENT ON COLUMN daily_counts.bundle IS 'Id of the detectors'' bundle that scored them (bundles.id).';
COMMENT ON COLUMN daily_counts.policy IS 'Id of the policy whose thresholds decided (policies.id).';
COMMENT ON COLUMN daily_counts.verdict IS 'authentic, suspicious, synthetic, not_applicable or unable_to_evaluate.';
COMMENT ON COLUMN daily_counts.uploads IS 'Number of verdicts.';
COMMENT ON COLUMN daily_counts.scored IS 'How many of them have a score.';
COMMENT ON COLUMN daily_counts.score_sum IS 'Sum of their scores.';
COMMENT ON COLUMN daily_counts.latency_ms_sum IS 'Sum of latency_ms.';

-- A batch locks its rows in the order of their key, so that two workers wait and never deadlock. It runs as
-- the owner of the tables: workers need no right to change counts. Names are qualified, because a temporary
-- table would be found before any other.
DO $$
BEGIN
    EXECUTE format(
        $function$
        CREATE FUNCTION count_verdicts() RETURNS trigger
        LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog
        AS $body$
        BEGIN
            INSERT INTO %1$I.daily_counts AS counted
            SELECT
                (decided_at AT TIME ZONE 'UTC')::date AS day, tenant, bundle, policy, verdict,
                count(*), count(score), coalesce(sum(score), 0), sum(latency_ms)
            FROM stored
            GROUP BY day, tenant, bundle, policy, verdict
            ORDER BY day, tenant, bundle, policy, verdict
            ON CONFLICT (day, tenant, bundle, policy, verdict) DO UPDATE SET
                uploads = counted.uploads + excluded.uploads,
                scored = counted.scored + excluded.scored,
                score_sum = counted.score_sum + excluded.score_sum,
                latency_ms_sum = counted.latency_ms_sum + excluded.latency_ms_sum;
            RETURN NULL;
        END
        $body$
        $function$,
        current_schema()
    );
END
$$;

-- From here to the end of the migration writers wait: what they store is counted once, by the trigger or below.
CREATE TRIGGER count_verdicts
    AFTER INSERT ON verdicts
    REFERENCING NEW TABLE AS stored
    FOR EACH STATEMENT EXECUTE FUNCTION count_verdicts();

INSERT INTO daily_counts
SELECT
    (decided_at AT TIME ZONE 'UTC')::date AS day, tenant, bundle, policy, verdict,
    count(*), count(score), coalesce(sum(score), 0), sum(latency_ms)
FROM verdicts
GROUP BY day, tenant, bundle, policy, verdict;

-- Its 95th percentile of latency cannot be kept by adding up; the metrics have it.
DROP VIEW daily_verdicts;

CREATE VIEW daily_verdicts AS
SELECT
    day, tenant, bundle, policy, verdict, uploads,
    score_sum / nullif(scored, 0) AS mean_score,
    latency_ms_sum::double precision / uploads AS mean_latency_ms
FROM daily_counts;

COMMENT ON VIEW daily_verdicts IS 'How many verdicts of which kind were given a day, erased and expired ones too.';
COMMENT ON COLUMN daily_verdicts.day IS 'Day of decided_at, UTC.';
COMMENT ON COLUMN daily_verdicts.tenant IS 'Customer or site that the uploads belong to.';
COMMENT ON COLUMN daily_verdicts.bundle IS 'Id of the detectors'' bundle that scored them (bundles.id).';
COMMENT ON COLUMN daily_verdicts.policy IS 'Id of the policy whose thresholds decided (policies.id).';
COMMENT ON COLUMN daily_verdicts.verdict IS 'authentic, suspicious, synthetic, not_applicable or unable_to_evaluate.';
COMMENT ON COLUMN daily_verdicts.uploads IS 'Number of verdicts.';
COMMENT ON COLUMN daily_verdicts.mean_score IS 'Mean fused probability of synthetic; null if none was judged.';
COMMENT ON COLUMN daily_verdicts.mean_latency_ms IS 'Mean of latency_ms.';

-- LIMIT 1 and OFFSET 0 keep each look a look. As joins they were taken to leave one row of all, and so the
-- whole queue was joined and sorted for its first twenty.
CREATE OR REPLACE VIEW review_queue AS
SELECT
    flagged.verdict_id, pending.tenant, pending.upload_id, flagged.uploader_id, flagged.uri,
    flagged.verdict, pending.score, flagged.pin_clip, flagged.dgs_net, flagged.masm, flagged.extra,
    flagged.reasons, flagged.bundle, flagged.policy, flagged.uploaded_at, flagged.decided_at
FROM review_pending AS pending
CROSS JOIN LATERAL (
    SELECT *
    FROM verdicts
    WHERE verdicts.tenant = pending.tenant AND verdicts.upload_id = pending.upload_id
        AND verdicts.bundle = pending.bundle AND verdicts.uploaded_at = pending.uploaded_at
    LIMIT 1
) AS flagged
WHERE NOT EXISTS (
    SELECT FROM reviews
    WHERE reviews.tenant = pending.tenant AND reviews.upload_id = pending.upload_id
    OFFSET 0
)
AND NOT EXISTS (
    SELECT FROM verdicts AS newer
    WHERE newer.tenant = pending.tenant AND newer.upload_id = pending.upload_id
        AND newer.decided_at > pending.decided_at
    OFFSET 0
);

-- Retention goes by when the reviewed picture was uploaded. Without it every decision that there is had to be
-- looked up among the verdicts of the month that leaves; those that are here already still are, because to look
-- them all up now would hold up writers.
ALTER TABLE reviews ADD COLUMN uploaded_at timestamptz;

COMMENT ON COLUMN reviews.uploaded_at IS 'When the picture was uploaded; null if the decision came before its verdict or before 0004.';

CREATE INDEX reviews_uploaded ON reviews (uploaded_at);

-- A batch looks its 256 ids up in every month, because an event may come again with another time of upload.
-- In a B-tree that was the dearest thing that it did; a hash takes one page a look, and half the time.
CREATE INDEX verdicts_verdict_id_hash ON verdicts USING hash (verdict_id);
DROP INDEX verdicts_verdict_id;
ALTER INDEX verdicts_verdict_id_hash RENAME TO verdicts_verdict_id;
