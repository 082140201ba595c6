-- Run at the end of every upgrade. pixassay_reader may only read. Grant it to the people and tools that look at verdicts:
--     GRANT pixassay_reader TO analyst;
-- Roles belong to the whole cluster, so it may exist already, or be made this very moment by the upgrade
-- of another database.
DO $$
BEGIN
    IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = 'pixassay_reader') THEN
        BEGIN
            CREATE ROLE pixassay_reader NOLOGIN;
        EXCEPTION
            WHEN duplicate_object OR unique_violation THEN
                NULL;
            WHEN insufficient_privilege THEN
                RAISE WARNING 'the role pixassay_reader was not made: % may not create roles. Have an administrator '
                    'run "CREATE ROLE pixassay_reader NOLOGIN", then run "pixassay db upgrade" again.', current_user;
                RETURN;
        END;
    END IF;
    IF NOT has_schema_privilege('pixassay_reader', current_schema(), 'USAGE') THEN
        EXECUTE format('GRANT USAGE ON SCHEMA %I TO pixassay_reader', current_schema());
    END IF;
    GRANT SELECT ON
        verdicts, bundles, policies, reviews, review_pending, dead_letters, erased, erasures,
        daily_counts, verdicts_latest, review_queue, daily_verdicts
        TO pixassay_reader;
END
$$;
