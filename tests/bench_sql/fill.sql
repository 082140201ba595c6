-- One stretch of a made-up history: uploads first..last of total, spread evenly over the span before now.
-- A few tenants and a few uploaders send most, 2 % are flagged, 2 % could not be judged.
INSERT INTO verdicts
SELECT
    'tenant-' || t,
    'up-' || md5('u' || n),
    :bundle,
    at,
    md5('v' || n)::uuid,
    CASE WHEN known < 0.9 THEN 'user-' || t || '-' || u END,
    's3://tenant-' || t || '/in/' || md5('u' || n) || '.jpg',
    md5('a' || n) || md5('b' || n),
    CASE WHEN kind < 0.98 THEN 'JPEG' END,
    CASE WHEN kind < 0.98 THEN 640 + (n % 3000)::integer END,
    CASE WHEN kind < 0.98 THEN 480 + (n % 2000)::integer END,
    CASE WHEN kind < 0.98 THEN 1 END,
    CASE
        WHEN kind < 0.005 THEN 'synthetic'
        WHEN kind < 0.02 THEN 'suspicious'
        WHEN kind < 0.98 THEN 'authentic'
        WHEN kind < 0.99 THEN 'not_applicable'
        ELSE 'unable_to_evaluate'
    END,
    CASE
        WHEN kind < 0.005 THEN 0.75 + 0.25 * place
        WHEN kind < 0.02 THEN 0.5 + 0.25 * place * 0.999
        WHEN kind < 0.98 THEN 0.4999 * place * place
    END,
    CASE WHEN kind < 0.98 THEN 8 * place - 4 END,
    CASE WHEN kind < 0.98 THEN 8 * other - 4 END,
    CASE WHEN kind < 0.98 THEN 4 * (place + other) - 4 END,
    NULL,
    CASE
        WHEN kind < 0.005 THEN '{above_synthetic}'::text[]
        WHEN kind < 0.02 THEN '{above_suspicious}'
        WHEN kind < 0.98 THEN '{}'
        WHEN kind < 0.99 THEN '{too_small}'
        ELSE '{undecodable}'
    END,
    :policy,
    1,
    at + interval '1 second' * (1 + 20 * other),
    (40 + 400 * other * other)::integer,
    'image.uploads',
    (n % 12)::integer,
    n / 12
FROM (
    SELECT
        n,
        CAST(:start AS timestamptz) + interval '1 second' * (CAST(:seconds AS double precision) * n / :total)
            AS at,
        floor(40 * power(random(), 3))::integer AS t,
        floor(20000 * power(random(), 3))::integer AS u,
        random() AS known, random() AS kind, random() AS place, random() AS other
    FROM generate_series(CAST(:first AS bigint), CAST(:last AS bigint)) AS n
) AS made
