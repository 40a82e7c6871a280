-- Further analysts, and prices beside an analyst's own moments.
-- depends: 0006.analysis

-- A role may change its own settings for good, and PostgreSQL cannot forbid it.
CREATE FUNCTION internal.reset_limits(name text) RETURNS void
LANGUAGE plpgsql
SET search_path = pg_catalog, public, pg_temp
AS $$
DECLARE
    limits text[] := ARRAY[
        'default_transaction_read_only=on', 'statement_timeout=1min', 'lock_timeout=2s',
        'idle_in_transaction_session_timeout=5min', 'TimeZone=UTC'];
    stored text[] := ARRAY(
        SELECT unnest(setconfig)
          FROM pg_db_role_setting
         WHERE setrole = to_regrole(quote_ident(name)));
    setting text;
    database text;
BEGIN
    IF (SELECT rolsuper FROM pg_roles WHERE rolname = current_user) THEN
        limits := limits || 'temp_file_limit=4GB'::text;  -- only a superuser may set it
    END IF;
    IF stored @> limits AND stored <@ limits THEN  -- two databases may not alter one role at once
        RETURN;
    END IF;
    FOR database IN
        SELECT datname
          FROM pg_db_role_setting
          JOIN pg_database ON pg_database.oid = setdatabase
         WHERE setrole = to_regrole(quote_ident(name))
    LOOP
        EXECUTE format('ALTER ROLE %I IN DATABASE %I RESET ALL', name, database);
    END LOOP;
    EXECUTE format('ALTER ROLE %I RESET ALL', name);
    FOREACH setting IN ARRAY limits LOOP
        EXECUTE format(
            'ALTER ROLE %I SET %I TO %L', name, split_part(setting, '=', 1),
            split_part(setting, '=', 2));
    END LOOP;
END
$$;

COMMENT ON FUNCTION internal.reset_limits(text) IS
    'Replaces all settings of a role by the limits of an analyst. Owner only';

REVOKE EXECUTE ON FUNCTION internal.reset_limits(text) FROM PUBLIC;

-- A member of a role inherits its privileges, but neither its settings nor its connection limit.
CREATE FUNCTION create_analyst(name text) RETURNS void
LANGUAGE plpgsql
SET search_path = pg_catalog, public, pg_temp
AS $$
DECLARE
    connections integer;
BEGIN
    IF EXISTS (SELECT FROM pg_roles WHERE rolname = name) THEN
        RAISE EXCEPTION 'role "%" already exists', name
        USING ERRCODE = 'duplicate_object',
              HINT = format('ALTER ROLE %I PASSWORD or `tracker analyst-password` sets its'
                  ' password; DROP ROLE %I removes it.', name, name);
    END IF;
    SELECT rolconnlimit INTO STRICT connections FROM pg_roles WHERE rolname = 'analyst';
    EXECUTE format(
        'CREATE ROLE %I LOGIN IN ROLE analyst CONNECTION LIMIT %s', name, connections);
    PERFORM internal.reset_limits(name);
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
