-- Questions that people ask of the verdicts. For psql:
--     psql "$PIXASSAY_DATABASE_URL" -v tenant=default -v upload_id=cat-0001 -f docs/queries.sql

-- name: verdicts_of_the_last_day
-- How many verdicts of which kind were given in the last 24 hours?
SELECT verdict, count(*) AS uploads, round(avg(score)::numeric, 3) AS mean_score
FROM verdicts
WHERE decided_at >= now() - interval '24 hours'
GROUP BY verdict
ORDER BY uploads DESC;

-- name: review_queue
-- Which flagged uploads wait for a reviewer, the most suspected first?
SELECT verdict_id, tenant, upload_id, uploader_id, verdict, round(score::numeric, 4) AS score, reasons, uri
FROM review_queue
ORDER BY review_queue.score DESC
LIMIT 20;

-- name: scores_of_one_upload
-- What did each detector say of one upload, under every bundle that judged it?
SELECT bundle, policy, verdict, score, pin_clip, dgs_net, masm, extra, reasons, decided_at
FROM verdicts
WHERE tenant = :'tenant' AND upload_id = :'upload_id'
ORDER BY decided_at;

-- name: most_suspected_uploaders
-- Who uploaded most suspected images in the last 30 days?
SELECT tenant, uploader_id, count(*) AS suspected, max(uploaded_at) AS newest
FROM verdicts
WHERE verdict IN ('suspicious', 'synthetic')
    AND uploaded_at >= now() - interval '30 days'
    AND uploader_id IS NOT NULL
GROUP BY tenant, uploader_id
ORDER BY suspected DESC, tenant, uploader_id
LIMIT 20;

-- name: flagged_share_by_day
-- Which share of the uploads was flagged, day by day, in the last 90 days?
SELECT
    day,
    sum(uploads) AS uploads,
    round(
        100 * coalesce(sum(uploads) FILTER (WHERE verdict IN ('suspicious', 'synthetic')), 0) / sum(uploads), 2
    ) AS flagged_percent
FROM daily_verdicts
WHERE day > (now() AT TIME ZONE 'UTC')::date - 90
GROUP BY day
ORDER BY day DESC;
