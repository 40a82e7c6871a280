-- The roles stay, without a right here: other databases of the server may use them, and their
-- passwords are not ours to forget.
DO $$
DECLARE
    name text;
    ours text := (
        SELECT string_agg(thing.oid::regclass::text, ', ')
          FROM pg_class AS thing
          JOIN pg_class AS prices
            ON prices.oid = 'prices'::regclass
           AND prices.relnamespace = thing.relnamespace
           AND prices.relowner = thing.relowner
         WHERE thing.relkind IN ('r', 'v'));
BEGIN
    FOREACH name IN ARRAY ARRAY[
        'prices_changed', 'price_runs_changed', 'price_changes_logged', 'misses_changed'
    ] LOOP
        EXECUTE format('GRANT EXECUTE ON FUNCTION %I() TO PUBLIC', name);
        EXECUTE format('ALTER FUNCTION %I() SECURITY INVOKER RESET search_path', name);
    END LOOP;
    FOR name IN
        SELECT rolname
          FROM pg_roles
         WHERE rolname IN ('tracker_worker', 'tracker_web', 'analyst')
    LOOP
        EXECUTE format('REVOKE ALL ON %s FROM %I', ours, name);
    END LOOP;
END
$$;

DROP FUNCTION grant_roles();
