-- Creates the missing roles if the server permits it. Roles belong to the server: another database
-- may have created them. A new role has no password, therefore only a server with trust
-- authentication admits it.
DO $$
DECLARE
    role text;
BEGIN
    FOREACH role IN ARRAY ARRAY['tracker_worker', 'tracker_web', 'analyst'] LOOP
        CONTINUE WHEN EXISTS (SELECT FROM pg_roles WHERE rolname = role);
        BEGIN
            EXECUTE format('CREATE ROLE %I LOGIN', role);
        EXCEPTION
            WHEN duplicate_object OR unique_violation THEN  -- by the migration of another database
                CONTINUE;
            WHEN insufficient_privilege THEN
                RAISE WARNING '% may not create role %', current_user, role;
                CONTINUE;
        END;
        CASE role
        WHEN 'tracker_worker' THEN
            COMMENT ON ROLE tracker_worker IS
                'The worker of the price tracker: stores prices and misses';
        WHEN 'tracker_web' THEN
            COMMENT ON ROLE tracker_web IS 'The API of the price tracker: reads';
            ALTER ROLE tracker_web SET default_transaction_read_only = on;
        WHEN 'analyst' THEN
            COMMENT ON ROLE analyst IS
                'Analysts of the price tracker: read, with time limits';
            ALTER ROLE analyst CONNECTION LIMIT 20;
        END CASE;
    END LOOP;
END
$$
