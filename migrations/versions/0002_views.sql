-- Views for people.

CREATE VIEW verdicts_latest AS
SELECT DISTINCT ON (tenant, upload_id) *
FROM verdicts
ORDER BY tenant, upload_id, decided_at DESC;

COMMENT ON VIEW verdicts_latest IS 'The newest verdict of every upload, whichever bundle gave it.';

-- A decision settles the upload, not only the one verdict, and a newer verdict replaces an older one.
CREATE VIEW review_queue AS
SELECT
    flagged.verdict_id, flagged.tenant, flagged.upload_id, flagged.uploader_id, flagged.uri,
    flagged.verdict, flagged.score, flagged.pin_clip, flagged.dgs_net, flagged.masm, flagged.extra,
    flagged.reasons, flagged.bundle, flagged.policy, flagged.uploaded_at, flagged.decided_at
FROM verdicts AS flagged
WHERE flagged.verdict IN ('suspicious', 'synthetic')
    AND NOT EXISTS (
        SELECT FROM reviews
        WHERE reviews.tenant = flagged.tenant AND reviews.upload_id = flagged.upload_id
    )
    AND NOT EXISTS (
        SELECT FROM verdicts AS newer
        WHERE newer.tenant = flagged.tenant AND newer.upload_id = flagged.upload_id
            AND newer.decided_at > flagged.decided_at
    );

COMMENT ON VIEW review_queue IS 'Flagged uploads on which no reviewer has decided yet.';

CREATE VIEW daily_verdicts AS
SELECT
    (decided_at AT TIME ZONE 'UTC')::date AS day,
    tenant,
    bundle,
    policy,
    verdict,
    count(*) AS uploads,
    avg(score) AS mean_score,
    percentile_cont(0.95) WITHIN GROUP (ORDER BY latency_ms) AS latency_ms_p95
FROM verdicts
GROUP BY day, tenant, bundle, policy, verdict;

COMMENT ON VIEW daily_verdicts IS 'How many verdicts of which kind were given a day.';
COMMENT ON COLUMN daily_verdicts.day IS 'Day of decided_at, UTC.';
COMMENT ON COLUMN daily_verdicts.uploads IS 'Number of verdicts.';
COMMENT ON COLUMN daily_verdicts.mean_score IS 'Mean fused probability of synthetic; null if none was judged.';
COMMENT ON COLUMN daily_verdicts.latency_ms_p95 IS '95th percentile of latency_ms.';

-- A column that a view takes over from verdicts means there what it means here.
DO $$
DECLARE
    taken record;
BEGIN
    FOR taken IN
        SELECT view.relname, of_view.attname, col_description(of_table.attrelid, of_table.attnum) AS said
        FROM pg_class AS view
        JOIN pg_attribute AS of_view ON of_view.attrelid = view.oid AND of_view.attnum > 0
        JOIN pg_attribute AS of_table
            ON of_table.attrelid = 'verdicts'::regclass AND of_table.attname = of_view.attname
        WHERE view.relname IN ('verdicts_latest', 'review_queue', 'daily_verdicts')
            AND view.relnamespace = current_schema()::regnamespace
    LOOP
        EXECUTE format('COMMENT ON COLUMN %I.%I IS %L', taken.relname, taken.attname, taken.said);
    END LOOP;
END
$$;
