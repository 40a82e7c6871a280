-- Further analysts, and prices beside an analyst's own moments.
-- depends: 0006.analysis

-- A member of a role inherits its privileges, but neither its settings nor its connection limit.
CREATE FUNCTION create_analyst(name text) RETURNS void
LANGUAGE plpgsql
SET search_path = pg_catalog, public, pg_temp
AS $$
DECLARE
    connections integer;
    settings text[];
    setting text;
BEGIN
    SELECT rolconnlimit, coalesce(rolconfig, '{}')
      INTO STRICT connections, settings
      FROM pg_roles
     WHERE rolname = 'analyst';
    EXECUTE format(
        'CREATE ROLE %I LOGIN IN ROLE analyst CONNECTION LIMIT %s', name, connections);
    FOREACH setting IN ARRAY settings LOOP
        EXECUTE format(
            'ALTER ROLE %I SET %I TO %L',
            name, split_part(setting, '=', 1), substr(setting, strpos(setting, '=') + 1));
    END LOOP;
END
$$;

COMMENT ON FUNCTION create_analyst(text) IS
    'Creates a login with the privileges, time limits and connection limit of the role analyst, without a password. Owner only';

REVOKE EXECUTE ON FUNCTION create_analyst(text) FROM PUBLIC;

CREATE FUNCTION price_at(ticker text, moment timestamptz, tolerance interval)
RETURNS TABLE (created_at timestamptz, price numeric)
LANGUAGE sql STABLE PARALLEL SAFE ROWS 1 AS $$
    SELECT minute.created_at, minute.price
      FROM prices AS minute
     WHERE minute.ticker = price_at.ticker
       AND minute.created_at >= date_trunc(
               'minute', price_at.moment AT TIME ZONE 'UTC' - price_at.tolerance) AT TIME ZONE 'UTC'
       AND minute.created_at <= price_at.moment
     ORDER BY minute.created_at DESC
     LIMIT 1
$$;

COMMENT ON FUNCTION price_at(text, timestamptz, interval) IS
    'The newest price at the moment: of its minute, or of the last earlier minute that has one, back to the minute of moment - tolerance; no row if there is none. Join it LATERAL to your own moments';
