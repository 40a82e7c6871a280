-- Who may do what: a process that is taken over, or an analyst who errs, can do no more than its
-- work. Whoever runs the migrations owns all; these roles log in beside it, where they are wanted.
-- They belong to the server, not to this database: others may have made them, and a server may not
-- let us. They have no password yet, so that only a server that asks for none lets them in.
-- depends: 0008.create-heartbeats
DO $$
DECLARE
    role text;
    made text[] := '{}';
    refused text[] := '{}';
BEGIN
    FOREACH role IN ARRAY ARRAY['tracker_worker', 'tracker_web', 'analyst'] LOOP
        CONTINUE WHEN EXISTS (SELECT FROM pg_roles WHERE rolname = role);
        BEGIN
            EXECUTE format('CREATE ROLE %I LOGIN', role);
            made := made || role;
        EXCEPTION
            WHEN duplicate_object OR unique_violation THEN  -- another database's migration was faster
                NULL;
            WHEN insufficient_privilege THEN
                refused := refused || role;
        END;
    END LOOP;

    -- Whoever made a role sets it up; later changes are the operator's.
    IF 'tracker_worker' = ANY (made) THEN
        COMMENT ON ROLE tracker_worker IS 'The worker of the price tracker: stores prices and misses';
    END IF;
    IF 'tracker_web' = ANY (made) THEN
        COMMENT ON ROLE tracker_web IS 'The API of the price tracker: reads';
        ALTER ROLE tracker_web SET default_transaction_read_only = on;
    END IF;
    IF 'analyst' = ANY (made) THEN
        COMMENT ON ROLE analyst IS 'Analysts of the price tracker: they read, and wait for no lock';
        ALTER ROLE analyst CONNECTION LIMIT 20;
        ALTER ROLE analyst SET default_transaction_read_only = on;
        ALTER ROLE analyst SET statement_timeout = '1min';
        ALTER ROLE analyst SET lock_timeout = '2s';
        ALTER ROLE analyst SET idle_in_transaction_session_timeout = '5min';
        ALTER ROLE analyst SET timezone = 'UTC';
    END IF;
    IF refused <> '{}' THEN
        RAISE WARNING '% may not create roles: without %', current_user,
            array_to_string(refused, ', ');
    END IF;
END
$$;

CREATE FUNCTION grant_roles() RETURNS void LANGUAGE plpgsql AS $$
DECLARE
    ours text := (
        SELECT string_agg(thing.oid::regclass::text, ', ')
          FROM pg_class AS thing
          JOIN pg_class AS prices
            ON prices.oid = 'prices'::regclass
           AND prices.relnamespace = thing.relnamespace
           AND prices.relowner = thing.relowner
         WHERE thing.relkind IN ('r', 'v')
           AND thing.relname !~ 'yoyo');
    role text;
BEGIN
    FOR role IN
        SELECT rolname
          FROM pg_roles
         WHERE rolname IN ('tracker_worker', 'tracker_web', 'analyst')
    LOOP
        EXECUTE format('GRANT SELECT ON %s TO %I', ours, role);
        IF role <> 'analyst' THEN
            EXECUTE format('GRANT SELECT ON _yoyo_migration TO %I', role);
        END IF;
        IF role = 'tracker_worker' THEN
            GRANT INSERT ON prices, misses, heartbeats TO tracker_worker;
            GRANT UPDATE (price, observed_at, source) ON prices TO tracker_worker;
            GRANT UPDATE (at) ON heartbeats TO tracker_worker;
        END IF;
    END LOOP;
END
$$;

COMMENT ON FUNCTION grant_roles() IS
    'Gives the roles that there are their rights on all tables and views; may be repeated';

DO $$ BEGIN PERFORM grant_roles(); END $$;

-- What follows from prices and misses is written by their triggers alone, with the owner's rights:
-- the worker cannot make a candle lie. Nobody else may tie these functions to a table of his own.
DO $$
DECLARE
    name text;
    places text := (
        SELECT string_agg(DISTINCT format('%I', nspname), ', ')
          FROM pg_namespace
         WHERE oid = (SELECT relnamespace FROM pg_class WHERE oid = 'prices'::regclass)
            OR oid = (SELECT extnamespace FROM pg_extension WHERE extname = 'timescaledb'));
BEGIN
    FOREACH name IN ARRAY ARRAY[
        'prices_changed', 'price_runs_changed', 'price_changes_logged', 'misses_changed'
    ] LOOP
        EXECUTE format(
            'ALTER FUNCTION %I() SECURITY DEFINER SET search_path = pg_catalog, %s, pg_temp',
            name, places);
        EXECUTE format('REVOKE EXECUTE ON FUNCTION %I() FROM PUBLIC', name);
    END LOOP;
END
$$;
