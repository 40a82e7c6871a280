-- What is compressed is made plain again first, which takes its time and room. What was dropped
-- stays so, and since is where it is.
DO $$
DECLARE
    chunk regclass;
BEGIN
    FOR chunk IN
        SELECT format('%I.%I', chunk_schema, chunk_name)::regclass
          FROM timescaledb_information.chunks
         WHERE format('%I.%I', hypertable_schema, hypertable_name)::regclass = 'prices'::regclass
           AND is_compressed
    LOOP
        PERFORM decompress_chunk(chunk);
    END LOOP;
    IF EXISTS (
        SELECT
          FROM timescaledb_information.hypertables
         WHERE format('%I.%I', hypertable_schema, hypertable_name)::regclass = 'prices'::regclass
           AND compression_enabled)
    THEN
        ALTER TABLE prices SET (timescaledb.compress = false);
    END IF;
END
$$;

DROP FUNCTION compress_prices(timestamptz);
DROP FUNCTION cut_prices(timestamptz);
DROP TABLE deleted_prices;
DROP TRIGGER prices_deleted ON prices;
DROP TRIGGER price_deleted ON prices;
DROP FUNCTION prices_deleted();
DROP FUNCTION price_deleted();
CREATE TRIGGER prices_deleted AFTER DELETE ON prices
    REFERENCING OLD TABLE AS changed
    FOR EACH STATEMENT EXECUTE FUNCTION prices_changed();
CREATE TRIGGER prices_deleted_runs AFTER DELETE ON prices
    REFERENCING OLD TABLE AS changed
    FOR EACH STATEMENT EXECUTE FUNCTION price_runs_changed();
CREATE TRIGGER prices_deleted_log AFTER DELETE ON prices
    REFERENCING OLD TABLE AS changed
    FOR EACH STATEMENT EXECUTE FUNCTION price_changes_logged();

DROP TRIGGER tickers_cut ON tickers;
DROP FUNCTION tickers_cut();
ALTER TABLE tickers DROP COLUMN kept_since;
COMMENT ON COLUMN tickers.since IS 'The first UTC minute that was asked for or stored';

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
     WHERE candle.ticker = touched.ticker AND candle.bucket = touched.bucket;

    INSERT INTO candles_1h (ticker, bucket, open, high, low, close, samples, charted)
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
     WHERE hour.samples > 0;
    RETURN NULL;
END
$$;

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
            GRANT INSERT ON prices, misses, heartbeats TO tracker_worker;
            GRANT UPDATE (price, observed_at, source) ON prices TO tracker_worker;
            GRANT UPDATE (at) ON heartbeats TO tracker_worker;
        END IF;
    END LOOP;
END
$$;

DO $$
BEGIN
    EXECUTE format(
        'ALTER FUNCTION prices_changed() SECURITY DEFINER SET search_path = pg_catalog, %s, pg_temp',
        (SELECT string_agg(DISTINCT format('%I', nspname), ', ')
           FROM pg_namespace
          WHERE oid = (SELECT relnamespace FROM pg_class WHERE oid = 'prices'::regclass)
             OR oid = (SELECT extnamespace FROM pg_extension WHERE extname = 'timescaledb')));
END
$$;
