-- Retention, which the worker applies, and the rebuild of derived data, which an operator calls.
-- depends: 0004.triggers

-- A wrong clock of the machine drops nothing: the horizon depends on the newest stored price too.
-- Dropping a chunk fires no trigger, therefore the function updates the derived data itself. It
-- takes locks in the order of the writers, first on the table and then on the rows in tickers,
-- which prevents concurrent inserts and deadlocks.
CREATE FUNCTION internal.drop_prices(
    retention interval,
    OUT horizon timestamptz, OUT reached timestamptz, OUT chunks bigint, OUT minutes bigint)
LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, public, pg_temp
SET lock_timeout = '500ms'
AS $$
DECLARE
    name text;
BEGIN
    IF retention IS NULL OR retention < INTERVAL '2 days' THEN
        RAISE EXCEPTION 'retention is shorter than two days: %', retention
            USING ERRCODE = 'invalid_parameter_value';
    END IF;
    LOCK TABLE ONLY prices IN SHARE ROW EXCLUSIVE MODE;
    PERFORM FROM tickers ORDER BY ticker FOR UPDATE;
    horizon := date_trunc(
        'day', least(now(), (SELECT max(until) FROM internal.price_islands)) - retention, 'UTC');
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
        DELETE FROM internal.price_islands
         WHERE since < reached
        RETURNING ticker, since, until
    ), remaining AS (
        INSERT INTO internal.price_islands (ticker, since, until)
        SELECT ticker, reached, until
          FROM cut
         WHERE until > reached
    )
    SELECT coalesce(extract(EPOCH FROM sum(least(until, reached) - since))::bigint / 60, 0)
      INTO minutes
      FROM cut;

    PERFORM internal.revise_all(
        ARRAY(SELECT ticker FROM tickers WHERE since < reached ORDER BY ticker), reached);
    UPDATE tickers
       SET since = reached, kept_since = reached
     WHERE since < reached;

    FOR name IN SELECT ticker FROM tickers ORDER BY ticker LOOP
        DELETE FROM prices WHERE ticker = name AND created_at < reached;
    END LOOP;
END
$$;

COMMENT ON FUNCTION internal.drop_prices(interval) IS
    'Drops prices older than the retention, counted from the newest stored price, and retains their candles: whole chunks, and at most one day of the oldest remaining chunk. Returns the horizon, the midnight reached, and the numbers of dropped chunks and minutes. Call it until reached is the horizon';

-- Set-based and independent of the triggers, which lets tests compare both.
CREATE FUNCTION rebuild(ticker text) RETURNS void
LANGUAGE plpgsql
SET search_path = pg_catalog, public, pg_temp
AS $$
#variable_conflict use_column
DECLARE
    first_minute timestamptz;
BEGIN
    PERFORM FROM tickers AS known WHERE known.ticker = rebuild.ticker FOR UPDATE;
    IF NOT FOUND THEN
        RAISE EXCEPTION 'no index % has been tracked', quote_nullable(ticker)
            USING ERRCODE = 'no_data_found';
    END IF;
    first_minute := (
        SELECT min(created_at)
          FROM prices
         WHERE prices.ticker = rebuild.ticker);

    DELETE FROM candles_1h AS candle
     WHERE candle.ticker = rebuild.ticker
       AND candle.bucket >= time_bucket(INTERVAL '1 hour', first_minute);
    INSERT INTO candles_1h (
        ticker, bucket, open, high, low, close, samples, polled, charted, imported)
    SELECT rebuild.ticker, time_bucket(INTERVAL '1 hour', created_at) AS hour,
           first(price, created_at), max(price), min(price), last(price, created_at),
           count(*), count(*) FILTER (WHERE source = 'poll'),
           count(*) FILTER (WHERE source = 'chart'), count(*) FILTER (WHERE source = 'import')
      FROM prices
     WHERE prices.ticker = rebuild.ticker
     GROUP BY hour;

    DELETE FROM candles_1d AS candle
     WHERE candle.ticker = rebuild.ticker
       AND candle.bucket >= time_bucket(INTERVAL '1 day', first_minute);
    INSERT INTO candles_1d (
        ticker, bucket, open, high, low, close, samples, polled, charted, imported)
    SELECT rebuild.ticker, time_bucket(INTERVAL '1 day', bucket) AS day,
           first(open, bucket), max(high), min(low), last(close, bucket),
           sum(samples), sum(polled), sum(charted), sum(imported)
      FROM candles_1h AS candle
     WHERE candle.ticker = rebuild.ticker
       AND candle.bucket >= time_bucket(INTERVAL '1 day', first_minute)
     GROUP BY day;

    DELETE FROM internal.price_islands AS island WHERE island.ticker = rebuild.ticker;
    INSERT INTO internal.price_islands (ticker, since, until)
    SELECT rebuild.ticker, min(minute), max(minute) + INTERVAL '1 min'
      FROM (
        SELECT created_at AS minute,
               created_at - row_number() OVER (ORDER BY created_at) * INTERVAL '1 min' AS island
          FROM prices
         WHERE prices.ticker = rebuild.ticker
      ) AS numbered
     GROUP BY island;

    DELETE FROM internal.miss_islands AS island WHERE island.ticker = rebuild.ticker;
    INSERT INTO internal.miss_islands (ticker, since, until, reason)
    SELECT rebuild.ticker, min(minute), max(minute) + INTERVAL '1 min', reason
      FROM (
        SELECT minute, reason,
               minute - row_number() OVER (PARTITION BY reason ORDER BY minute)
                        * INTERVAL '1 min' AS island
          FROM misses
         WHERE misses.ticker = rebuild.ticker
      ) AS numbered
     GROUP BY reason, island;

    -- Candles before the first minute are those of dropped prices, which are not missing.
    UPDATE tickers AS known
       SET kept_since = dropped.until,
           since = greatest(
               least(known.since, first_minute, dropped.first_miss), dropped.until)
      FROM (
        SELECT (SELECT min(minute) FROM misses WHERE misses.ticker = rebuild.ticker) AS first_miss,
               CASE WHEN EXISTS (
                        SELECT
                          FROM candles_1h AS candle
                         WHERE candle.ticker = rebuild.ticker
                           AND candle.bucket < time_bucket(INTERVAL '1 day', first_minute))
               THEN greatest(kept_since, time_bucket(INTERVAL '1 day', first_minute))
               ELSE kept_since END AS until
          FROM tickers
         WHERE tickers.ticker = rebuild.ticker
      ) AS dropped
     WHERE known.ticker = rebuild.ticker;

    INSERT INTO internal.month_revisions (ticker, month, revision)
    SELECT DISTINCT rebuild.ticker, date_trunc('month', bucket, 'UTC'), 0
      FROM candles_1d AS candle
     WHERE candle.ticker = rebuild.ticker
       AND candle.bucket >= time_bucket(INTERVAL '1 day', first_minute)
        ON CONFLICT (ticker, month) DO NOTHING;
    PERFORM internal.revise_all(ARRAY[rebuild.ticker]);
END
$$;

COMMENT ON FUNCTION rebuild(text) IS
    'Recomputes all derived data of one index from its prices and misses, except candles before its first price. Necessary after drop_chunks(), or writes without triggers. Owner only';

REVOKE EXECUTE ON FUNCTION internal.drop_prices(interval), rebuild(text) FROM PUBLIC;
