-- Prices may be kept for a while only, the hourly candles for ever: what was dropped on purpose is
-- not missing, and no later change may undo its candles. Where the edition has it, what is old can
-- be compressed: that wants triggers of deletion without transition tables.
-- depends: 0010.create-analysis
ALTER TABLE tickers ADD COLUMN kept_since timestamptz CHECK (
    kept_since = date_trunc('day', kept_since, 'UTC') AND isfinite(kept_since));

COMMENT ON COLUMN tickers.kept_since IS
    'Before this UTC midnight prices were dropped, and their hourly candles kept; null: none were';
COMMENT ON COLUMN tickers.since IS
    'The first UTC minute that was asked for or stored, of those that are kept';

CREATE FUNCTION tickers_cut() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    NEW.since := NEW.kept_since;
    RETURN NEW;
END
$$;

COMMENT ON FUNCTION tickers_cut() IS 'Has an index tracked only since its prices are kept';

CREATE TRIGGER tickers_cut BEFORE INSERT OR UPDATE ON tickers
    FOR EACH ROW WHEN (NEW.since < NEW.kept_since) EXECUTE FUNCTION tickers_cut();

-- As in 0005, but for candles before kept_since: the minutes that made them are gone, so that only
-- one of as many minutes takes their place.
CREATE OR REPLACE FUNCTION prices_changed() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO tickers AS known (ticker, since, revision)
    SELECT ticker, min(created_at), 1
      FROM changed
     GROUP BY ticker
     ORDER BY ticker
        ON CONFLICT (ticker) DO UPDATE
       SET since = least(known.since, excluded.since), revision = known.revision + 1;

    DELETE FROM candles_1h AS candle
     USING (SELECT DISTINCT ticker, date_trunc('hour', created_at, 'UTC') AS bucket
              FROM changed) AS touched
      JOIN tickers AS known
        ON known.ticker = touched.ticker
     WHERE candle.ticker = touched.ticker AND candle.bucket = touched.bucket
       AND (known.kept_since IS NULL OR candle.bucket >= known.kept_since);

    INSERT INTO candles_1h AS kept (
        ticker, bucket, open, high, low, close, samples, charted)
    SELECT touched.ticker, touched.bucket, hour.open, hour.high, hour.low, hour.close,
           hour.samples, hour.charted
      FROM (SELECT DISTINCT ticker, date_trunc('hour', created_at, 'UTC') AS bucket
              FROM changed) AS touched
     CROSS JOIN LATERAL (
        SELECT first(price, created_at) AS open, max(price) AS high, min(price) AS low,
               last(price, created_at) AS close, count(*) AS samples,
               count(*) FILTER (WHERE source = 'chart') AS charted
          FROM prices
         WHERE prices.ticker = touched.ticker
           AND prices.created_at >= touched.bucket
           AND prices.created_at < touched.bucket + INTERVAL '1 hour'
     ) AS hour
     WHERE hour.samples > 0
        ON CONFLICT (ticker, bucket) DO UPDATE
       SET open = excluded.open, high = excluded.high, low = excluded.low, close = excluded.close,
           samples = excluded.samples, charted = excluded.charted
     WHERE excluded.samples >= kept.samples;
    RETURN NULL;
END
$$;

-- What a statement deletes is noted row by row. At its end the notes are deleted, by one statement,
-- whose transition table is what the deletion's own would have been.
CREATE TABLE deleted_prices (
    ticker     text        NOT NULL,
    created_at timestamptz NOT NULL
);

COMMENT ON TABLE deleted_prices IS 'What the statement under way deletes of prices; empty otherwise';
COMMENT ON COLUMN deleted_prices.ticker IS 'Deribit''s index name';
COMMENT ON COLUMN deleted_prices.created_at IS 'The UTC minute whose price is deleted';

CREATE FUNCTION price_deleted() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO deleted_prices (ticker, created_at) VALUES (OLD.ticker, OLD.created_at);
    RETURN NULL;
END
$$;

COMMENT ON FUNCTION price_deleted() IS 'Notes a price that is deleted';

CREATE FUNCTION prices_deleted() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    DELETE FROM deleted_prices;
    RETURN NULL;
END
$$;

COMMENT ON FUNCTION prices_deleted() IS 'Has what follows from deleted prices done';

DROP TRIGGER prices_deleted ON prices;
DROP TRIGGER prices_deleted_runs ON prices;
DROP TRIGGER prices_deleted_log ON prices;
CREATE TRIGGER price_deleted AFTER DELETE ON prices
    FOR EACH ROW EXECUTE FUNCTION price_deleted();
CREATE TRIGGER prices_deleted AFTER DELETE ON prices
    FOR EACH STATEMENT EXECUTE FUNCTION prices_deleted();
CREATE TRIGGER prices_deleted AFTER DELETE ON deleted_prices
    REFERENCING OLD TABLE AS changed
    FOR EACH STATEMENT EXECUTE FUNCTION prices_changed();
CREATE TRIGGER prices_deleted_log AFTER DELETE ON deleted_prices
    REFERENCING OLD TABLE AS changed
    FOR EACH STATEMENT EXECUTE FUNCTION price_changes_logged();
CREATE TRIGGER prices_deleted_runs AFTER DELETE ON deleted_prices
    REFERENCING OLD TABLE AS changed
    FOR EACH STATEMENT EXECUTE FUNCTION price_runs_changed();

-- Dropping a chunk fires no trigger, so that what follows from it is done here. The rows in tickers
-- are locked first, in the order of all writers: nobody stores meanwhile what would be overlooked.
CREATE FUNCTION cut_prices(
    horizon timestamptz, OUT reached timestamptz, OUT chunks bigint, OUT minutes bigint)
LANGUAGE plpgsql SET lock_timeout = '500ms' AS $$
DECLARE
    one text;
BEGIN
    IF horizon IS NULL OR horizon > now() - INTERVAL '2 days' THEN
        RAISE EXCEPTION 'prices of the last two days are never dropped: %', horizon
            USING ERRCODE = 'invalid_parameter_value';
    END IF;
    horizon := date_trunc('day', horizon, 'UTC');
    PERFORM FROM tickers ORDER BY ticker FOR UPDATE;
    chunks := (SELECT count(*) FROM drop_chunks('prices', older_than => horizon));
    reached := least(horizon, (
        SELECT date_trunc('day', min(oldest.created_at), 'UTC') + INTERVAL '1 day'
          FROM tickers AS known
         CROSS JOIN LATERAL (
            SELECT created_at
              FROM prices
             WHERE ticker = known.ticker
               AND created_at < horizon
             ORDER BY created_at
             LIMIT 1
         ) AS oldest));

    WITH cut AS (
        DELETE FROM price_runs
         WHERE since < reached
        RETURNING ticker, since, until
    ), rest AS (
        INSERT INTO price_runs (ticker, since, until)
        SELECT ticker, reached, until FROM cut WHERE until > reached
    ), told AS (
        UPDATE tickers
           SET kept_since = greatest(kept_since, reached), revision = revision + 1
         WHERE since < reached OR ticker IN (SELECT ticker FROM cut)
        RETURNING ticker, revision
    ), logged AS (
        INSERT INTO changes (ticker, revision, last_minute)
        SELECT ticker, revision, reached - INTERVAL '1 min' FROM told
    ), forgotten AS (
        DELETE FROM changes
         USING told
         WHERE changes.ticker = told.ticker AND changes.revision = told.revision - 20000
    )
    SELECT coalesce(extract(EPOCH FROM sum(least(until, reached) - since))::bigint / 60, 0)
      INTO minutes
      FROM cut;

    FOR one IN SELECT ticker FROM tickers ORDER BY ticker LOOP
        DELETE FROM prices WHERE ticker = one AND created_at < reached;
    END LOOP;
END
$$;

COMMENT ON FUNCTION cut_prices(timestamptz) IS
    'Drops prices older than the midnight before the horizon, and keeps their hourly candles: whole chunks at once, of the one that is left no more than a day. Tells the midnight that was reached, chunks dropped, and minutes of all indexes. To be called again until the horizon is reached';

-- The first insertion into a chunk all of which is compressed is not seen by its own triggers: they
-- fire before the chunk is marked as having rows that are not (measured on 2.23). So a row is
-- updated to what it is, which marks the chunk at once.
CREATE FUNCTION compress_prices(horizon timestamptz) RETURNS text
LANGUAGE plpgsql SET lock_timeout = '500ms' AS $$
DECLARE
    old record;
BEGIN
    IF current_setting('timescaledb.license') <> 'timescale' THEN
        RAISE EXCEPTION 'only TimescaleDB''s Community edition compresses'
            USING ERRCODE = 'feature_not_supported';
    END IF;
    IF horizon IS NULL OR horizon > now() - INTERVAL '2 days' THEN
        RAISE EXCEPTION 'prices of the last two days are never compressed: %', horizon
            USING ERRCODE = 'invalid_parameter_value';
    END IF;
    SELECT format('%I.%I', chunk_schema, chunk_name)::regclass AS chunk, range_start, range_end
      INTO old
      FROM timescaledb_information.chunks
     WHERE format('%I.%I', hypertable_schema, hypertable_name)::regclass = 'prices'::regclass
       AND range_end <= horizon
       AND NOT is_compressed
     ORDER BY range_start
     LIMIT 1;
    IF FOUND THEN
        IF NOT EXISTS (
            SELECT
              FROM timescaledb_information.hypertables
             WHERE format('%I.%I', hypertable_schema, hypertable_name)::regclass
                   = 'prices'::regclass
               AND compression_enabled)
        THEN
            ALTER TABLE prices SET (
                timescaledb.compress, timescaledb.compress_segmentby = 'ticker',
                timescaledb.compress_orderby = 'created_at');
        END IF;
        PERFORM compress_chunk(old.chunk);
        UPDATE prices
           SET price = prices.price
          FROM (
            SELECT newest.ticker, newest.created_at
              FROM tickers AS known
             CROSS JOIN LATERAL (
                SELECT ticker, created_at
                  FROM prices
                 WHERE ticker = known.ticker
                   AND created_at >= old.range_start
                   AND created_at < old.range_end
                 ORDER BY created_at DESC
                 LIMIT 1
             ) AS newest
             LIMIT 1
          ) AS one
         WHERE prices.ticker = one.ticker
           AND prices.created_at = one.created_at
           AND prices.created_at >= old.range_start
           AND prices.created_at < old.range_end;
    END IF;
    RETURN old.chunk::text;
END
$$;

COMMENT ON FUNCTION compress_prices(timestamptz) IS
    'Compresses the oldest chunk that is not yet, of those that end before the horizon, and tells its name; null: there is none. To be called again until then. Community edition only';

-- As in 0009, and who may do both.
CREATE OR REPLACE FUNCTION grant_roles() RETURNS void LANGUAGE plpgsql AS $$
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
            -- As text: a plan that is kept with a hypertable in it crashes the session's next call.
            EXECUTE 'GRANT INSERT ON prices, misses, heartbeats TO tracker_worker';
            EXECUTE 'GRANT UPDATE (price, observed_at, source) ON prices TO tracker_worker';
            GRANT UPDATE (at) ON heartbeats TO tracker_worker;
            GRANT EXECUTE ON FUNCTION cut_prices(timestamptz), compress_prices(timestamptz)
               TO tracker_worker;
        END IF;
    END LOOP;
END
$$;

-- With the owner's rights, as in 0009; replaced functions have lost them.
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
        'prices_changed()', 'price_deleted()', 'prices_deleted()',
        'cut_prices(timestamptz)', 'compress_prices(timestamptz)'
    ] LOOP
        EXECUTE format(
            'ALTER FUNCTION %s SECURITY DEFINER SET search_path = pg_catalog, %s, pg_temp',
            name, places);
        EXECUTE format('REVOKE EXECUTE ON FUNCTION %s FROM PUBLIC', name);
    END LOOP;
END
$$;

DO $$ BEGIN PERFORM grant_roles(); END $$;
