-- Run at the end of every upgrade. pixassay_worker may do what a worker does, and no more: add rows. It may
-- not change or delete a verdict, nor alter, truncate or drop anything. Grant it to the user that workers
-- connect as:
--     CREATE ROLE lane LOGIN PASSWORD '...' IN ROLE pixassay_worker;
-- Upgrades, partitions, retention, erasures and work on dead letters are done by the owner of the tables.
DO $$
BEGIN
    IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = 'pixassay_worker') THEN
        BEGIN
            CREATE ROLE pixassay_worker NOLOGIN;
        EXCEPTION
            WHEN duplicate_object OR unique_violation THEN
                NULL;
            WHEN insufficient_privilege THEN
                RAISE WARNING 'the role pixassay_worker was not made: % may not create roles. Have an administrator '
                    'run "CREATE ROLE pixassay_worker NOLOGIN", then run "pixassay db upgrade" again.', current_user;
                RETURN;
        END;
    END IF;
    IF NOT has_schema_privilege('pixassay_worker', current_schema(), 'USAGE') THEN
        EXECUTE format('GRANT USAGE ON SCHEMA %I TO pixassay_worker', current_schema());
    END IF;
    GRANT SELECT, INSERT ON verdicts, bundles, policies, reviews, dead_letters TO pixassay_worker;
    GRANT SELECT, INSERT, UPDATE, DELETE ON review_pending TO pixassay_worker;
    GRANT SELECT ON alembic_version, erased, verdicts_latest, review_queue, daily_verdicts TO pixassay_worker;
END
$$;
