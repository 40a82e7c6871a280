-- One trigger function for each table. Those of prices and misses write derived data with the
-- owner's privileges, therefore no other role can write a wrong candle or island. Their plans are
-- generic, because a custom plan would be made for each statement. They avoid sequential scans,
-- because a session caches the plans that it made while the tables were small. Runtime exclusion is
-- off, because opening a chunk costs less than the decision to skip it.
-- depends: 0003.derived
CREATE TYPE internal.touched AS (
    ticker       index_name,
    first_minute timestamptz,
    last_minute  timestamptz,
    minutes      timestamptz[],
    hours        timestamptz[]
);

COMMENT ON TYPE internal.touched IS
    'The minutes of one index that a statement changed (null if more than 1,000), and their hours';

CREATE FUNCTION internal.prices_changed() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, public, pg_temp
SET plan_cache_mode = force_generic_plan
SET timescaledb.enable_runtime_exclusion = off
SET enable_seqscan = off
AS $$
DECLARE
    touched internal.touched[];
    changed_by bigint;
BEGIN
    -- 1. The changed minutes by index, in the order of names. An update changes old and new ones.
    IF TG_OP = 'TRUNCATE' THEN
        DELETE FROM candles_1h;
        DELETE FROM candles_1d;
        DELETE FROM internal.price_islands;
        PERFORM internal.revise_all(ARRAY(SELECT ticker FROM tickers ORDER BY ticker));
        RETURN NULL;
    ELSIF TG_OP = 'UPDATE' THEN
        touched := ARRAY(
            SELECT ROW(ticker, min(created_at), max(created_at),
                       CASE WHEN count(*) <= 1000 THEN array_agg(created_at ORDER BY created_at) END,
                       array_agg(DISTINCT time_bucket(INTERVAL '1 hour', created_at))
                   )::internal.touched
              FROM (
                SELECT ticker, created_at FROM former
                 UNION
                SELECT ticker, created_at FROM changed
              ) AS minute
             GROUP BY ticker
             ORDER BY ticker);
    ELSE
        touched := ARRAY(
            SELECT ROW(ticker, min(created_at), max(created_at),
                       CASE WHEN count(*) <= 1000 THEN array_agg(created_at ORDER BY created_at) END,
                       array_agg(DISTINCT time_bucket(INTERVAL '1 hour', created_at))
                   )::internal.touched
              FROM changed
             GROUP BY ticker
             ORDER BY ticker);
    END IF;
    IF touched = '{}' THEN
        RETURN NULL;
    END IF;

    -- 2. Revision and change log. The row in tickers stays locked until the commit: writers of
    --    one index wait for each other, and the next steps read what the previous writer committed.
    --    Before kept_since only retention deletes, which does not change the month.
    INSERT INTO internal.batches (tickers)
    SELECT array_agg(ticker) FROM unnest(touched)
    RETURNING id INTO changed_by;

    WITH revised AS (
        INSERT INTO tickers AS known (ticker, since, revision)
        SELECT ticker, first_minute, 1
          FROM unnest(touched)
            ON CONFLICT (ticker) DO UPDATE
           SET since = greatest(least(known.since, excluded.since), known.kept_since),
               revision = known.revision + 1
        RETURNING ticker, revision, kept_since
    ), dated AS (
        INSERT INTO internal.month_revisions (ticker, month, revision)
        SELECT DISTINCT revised.ticker, time_bucket(INTERVAL '1 month', hour), revised.revision
          FROM unnest(touched) AS change
          JOIN revised ON revised.ticker = change.ticker
         CROSS JOIN unnest(change.hours) AS hour
         WHERE hour >= coalesce(revised.kept_since, '-infinity')
            ON CONFLICT (ticker, month) DO UPDATE
           SET revision = excluded.revision
    ), expired AS (
        DELETE FROM internal.changes
         USING revised
         WHERE changes.ticker = revised.ticker
           AND changes.revision = revised.revision - 20000
    )
    INSERT INTO internal.changes (ticker, revision, batch, first_minute, last_minute, minutes)
    SELECT revised.ticker, revised.revision, changed_by, first_minute, last_minute, minutes
      FROM unnest(touched) AS change
      JOIN revised ON revised.ticker = change.ticker;

    -- 3. Prices newer than all others of their indexes, such as polls, only extend the newest
    --    hour, day and island. Candles before kept_since include dropped minutes: step 4 handles
    --    those.
    IF TG_OP = 'INSERT' AND NOT EXISTS (
        SELECT
          FROM unnest(touched) AS change
          JOIN tickers AS known ON known.ticker = change.ticker
          LEFT JOIN LATERAL (
            SELECT until
              FROM internal.price_islands
             WHERE ticker = change.ticker
             ORDER BY since DESC
             LIMIT 1
          ) AS newest ON true
         WHERE change.first_minute < greatest(newest.until, known.kept_since))
    THEN
        INSERT INTO candles_1h AS candle (
            ticker, bucket, open, high, low, close, samples, polled, charted, imported)
        SELECT ticker, time_bucket(INTERVAL '1 hour', created_at) AS hour,
               first(price, created_at), max(price), min(price), last(price, created_at),
               count(*), count(*) FILTER (WHERE source = 'poll'),
               count(*) FILTER (WHERE source = 'chart'), count(*) FILTER (WHERE source = 'import')
          FROM changed
         GROUP BY ticker, hour
            ON CONFLICT (ticker, bucket) DO UPDATE
           SET high = greatest(candle.high, excluded.high), low = least(candle.low, excluded.low),
               close = excluded.close, samples = candle.samples + excluded.samples,
               polled = candle.polled + excluded.polled,
               charted = candle.charted + excluded.charted,
               imported = candle.imported + excluded.imported;

        INSERT INTO candles_1d AS candle (
            ticker, bucket, open, high, low, close, samples, polled, charted, imported)
        SELECT ticker, time_bucket(INTERVAL '1 day', created_at) AS day,
               first(price, created_at), max(price), min(price), last(price, created_at),
               count(*), count(*) FILTER (WHERE source = 'poll'),
               count(*) FILTER (WHERE source = 'chart'), count(*) FILTER (WHERE source = 'import')
          FROM changed
         GROUP BY ticker, day
            ON CONFLICT (ticker, bucket) DO UPDATE
           SET high = greatest(candle.high, excluded.high), low = least(candle.low, excluded.low),
               close = excluded.close, samples = candle.samples + excluded.samples,
               polled = candle.polled + excluded.polled,
               charted = candle.charted + excluded.charted,
               imported = candle.imported + excluded.imported;

        WITH added AS (
            SELECT ticker, min(created_at) AS since, max(created_at) + INTERVAL '1 min' AS until
              FROM (
                SELECT ticker, created_at,
                       created_at - row_number() OVER (PARTITION BY ticker ORDER BY created_at)
                                    * INTERVAL '1 min' AS island
                  FROM changed
              ) AS numbered
             GROUP BY ticker, island
        ), extended AS (
            UPDATE internal.price_islands AS island
               SET until = added.until
              FROM added
             WHERE island.ticker = added.ticker
               AND island.until = added.since
               AND island.since = (
                SELECT max(newest.since)
                  FROM internal.price_islands AS newest
                 WHERE newest.ticker = added.ticker)
            RETURNING added.ticker, added.since
        )
        INSERT INTO internal.price_islands (ticker, since, until)
        SELECT ticker, since, until
          FROM added
         WHERE NOT EXISTS (
            SELECT
              FROM extended
             WHERE extended.ticker = added.ticker AND extended.since = added.since);
        RETURN NULL;
    END IF;

    -- 4. Otherwise recompute hours and islands from the minutes of each touched hour. Minutes
    --    before kept_since were dropped: only a candle of at least as many minutes replaces one
    --    there. Islands that overlap or touch such an hour lose its minutes; adjacent minutes merge
    --    into one island.
    WITH hour AS MATERIALIZED (
        SELECT change.ticker, bucket, stored.*
          FROM unnest(touched) AS change
         CROSS JOIN unnest(change.hours) AS bucket
         CROSS JOIN LATERAL (
            SELECT first(price, created_at) AS open, max(price) AS high, min(price) AS low,
                   last(price, created_at) AS close, count(*) AS samples,
                   count(*) FILTER (WHERE source = 'poll') AS polled,
                   count(*) FILTER (WHERE source = 'chart') AS charted,
                   count(*) FILTER (WHERE source = 'import') AS imported,
                   range_agg(tstzrange(created_at, created_at + INTERVAL '1 min')) AS minutes
              FROM prices
             WHERE prices.ticker = change.ticker
               AND prices.created_at >= bucket
               AND prices.created_at < bucket + INTERVAL '1 hour'
          ) AS stored
    ), emptied AS (
        DELETE FROM candles_1h AS candle
         USING hour
          JOIN tickers AS known ON known.ticker = hour.ticker
         WHERE hour.samples = 0
           AND candle.ticker = hour.ticker
           AND candle.bucket = hour.bucket
           AND candle.bucket >= coalesce(known.kept_since, '-infinity')
    ), upserted AS (
        INSERT INTO candles_1h AS candle (
            ticker, bucket, open, high, low, close, samples, polled, charted, imported)
        SELECT ticker, bucket, open, high, low, close, samples, polled, charted, imported
          FROM hour
         WHERE samples > 0
            ON CONFLICT (ticker, bucket) DO UPDATE
           SET open = excluded.open, high = excluded.high, low = excluded.low,
               close = excluded.close, samples = excluded.samples, polled = excluded.polled,
               charted = excluded.charted, imported = excluded.imported
         WHERE excluded.samples >= candle.samples
            OR candle.bucket >= coalesce(
                (SELECT kept_since FROM tickers WHERE tickers.ticker = candle.ticker), '-infinity')
    ), reach AS (
        SELECT ticker, min(bucket) AS first_hour, max(bucket) AS last_hour,
               range_agg(tstzrange(bucket, bucket + INTERVAL '1 hour')) AS hours,
               range_agg(tstzrange(bucket - INTERVAL '1 min', bucket + INTERVAL '61 min')) AS nearby
          FROM hour
         GROUP BY ticker
    ), cut AS (
        DELETE FROM internal.price_islands
         WHERE ctid = ANY (ARRAY(
            SELECT near.id
              FROM reach
             CROSS JOIN LATERAL (
                SELECT ctid AS id
                  FROM internal.price_islands
                 WHERE ticker = reach.ticker
                   AND since >= coalesce(
                       (SELECT earlier.since
                          FROM internal.price_islands AS earlier
                         WHERE earlier.ticker = reach.ticker AND earlier.since < reach.first_hour
                         ORDER BY earlier.since DESC
                         LIMIT 1),
                       reach.first_hour)
                   AND since <= reach.last_hour + INTERVAL '1 hour'
                   AND tstzrange(since, until) && reach.nearby
                OFFSET 0 -- forces a range scan of the primary key for each index
              ) AS near))
        RETURNING ticker, tstzmultirange(tstzrange(since, until)) AS minutes
    ), part (ticker, minutes) AS (
        SELECT cut.ticker, cut.minutes - reach.hours
          FROM cut
          JOIN reach ON reach.ticker = cut.ticker
         UNION ALL
        SELECT ticker, minutes FROM hour
    )
    INSERT INTO internal.price_islands (ticker, since, until)
    SELECT ticker, lower(island), upper(island)
      FROM (
        SELECT ticker, unnest(range_agg(minutes)) AS island
          FROM part
         GROUP BY ticker
      ) AS islands;

    -- 5. Recompute days from their hours.
    WITH day AS MATERIALIZED (
        SELECT touched_day.ticker, touched_day.bucket, stored.*
          FROM (
            SELECT DISTINCT change.ticker, time_bucket(INTERVAL '1 day', touched_hour) AS bucket
              FROM unnest(touched) AS change
             CROSS JOIN unnest(change.hours) AS touched_hour
          ) AS touched_day
         CROSS JOIN LATERAL (
            SELECT first(open, hour.bucket) AS open, max(high) AS high, min(low) AS low,
                   last(close, hour.bucket) AS close, sum(samples) AS samples,
                   sum(polled) AS polled, sum(charted) AS charted, sum(imported) AS imported
              FROM candles_1h AS hour
             WHERE hour.ticker = touched_day.ticker
               AND hour.bucket >= touched_day.bucket
               AND hour.bucket < touched_day.bucket + INTERVAL '24 hours'
          ) AS stored
    ), emptied AS (
        DELETE FROM candles_1d AS candle
         USING day
         WHERE day.samples IS NULL
           AND candle.ticker = day.ticker
           AND candle.bucket = day.bucket
    )
    INSERT INTO candles_1d (
        ticker, bucket, open, high, low, close, samples, polled, charted, imported)
    SELECT ticker, bucket, open, high, low, close, samples, polled, charted, imported
      FROM day
     WHERE samples > 0
        ON CONFLICT (ticker, bucket) DO UPDATE
       SET open = excluded.open, high = excluded.high, low = excluded.low, close = excluded.close,
           samples = excluded.samples, polled = excluded.polled, charted = excluded.charted,
           imported = excluded.imported;

    RETURN NULL;
END
$$;

COMMENT ON FUNCTION internal.prices_changed() IS
    'After a change of prices: updates revision, change log, hours, days and islands';

CREATE TRIGGER prices_inserted AFTER INSERT ON prices
    REFERENCING NEW TABLE AS changed
    FOR EACH STATEMENT EXECUTE FUNCTION internal.prices_changed();

CREATE TRIGGER prices_updated AFTER UPDATE ON prices
    REFERENCING OLD TABLE AS former NEW TABLE AS changed
    FOR EACH STATEMENT EXECUTE FUNCTION internal.prices_changed();

CREATE TRIGGER prices_deleted AFTER DELETE ON prices
    REFERENCING OLD TABLE AS changed
    FOR EACH STATEMENT EXECUTE FUNCTION internal.prices_changed();

CREATE TRIGGER prices_truncated AFTER TRUNCATE ON prices
    FOR EACH STATEMENT EXECUTE FUNCTION internal.prices_changed();

CREATE FUNCTION internal.revise_all(names text[], until timestamptz DEFAULT NULL) RETURNS void
LANGUAGE sql AS $$
    WITH batch AS (
        INSERT INTO internal.batches (tickers)
        SELECT names
         WHERE cardinality(names) > 0
        RETURNING id
    ), revised AS (
        UPDATE tickers
           SET revision = revision + 1
         WHERE ticker = ANY (names)
        RETURNING ticker, revision
    ), dated AS (
        UPDATE internal.month_revisions AS dated
           SET revision = revised.revision
          FROM revised
         WHERE dated.ticker = revised.ticker
           AND revise_all.until IS NULL
    ), expired AS (
        DELETE FROM internal.changes
         USING revised
         WHERE changes.ticker = revised.ticker
           AND changes.revision = revised.revision - 20000
    )
    INSERT INTO internal.changes (ticker, revision, batch, last_minute)
    SELECT revised.ticker, revised.revision, batch.id, revise_all.until - INTERVAL '1 min'
      FROM revised
     CROSS JOIN batch
$$;

COMMENT ON FUNCTION internal.revise_all(text[], timestamptz) IS
    'Increments the revisions of the named indexes, whose rows must be locked, and logs that every minute, or every minute before until, may have changed. Month revisions change only without until, which retention passes';

-- The batches of one transaction send equal notifications, because both have the final revision;
-- PostgreSQL delivers one.
CREATE FUNCTION internal.batch_committed() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, public, pg_temp
AS $$
BEGIN
    PERFORM pg_advisory_xact_lock('internal.batches'::regclass::integer, 0);
    UPDATE internal.batches SET position = nextval('internal.batch_position') WHERE id = NEW.id;
    DELETE FROM internal.batches WHERE id <= NEW.id - 1000000;
    PERFORM pg_notify('prices', json_build_object('ticker', ticker, 'revision', revision)::text)
       FROM tickers
      WHERE ticker = ANY (NEW.tickers);
    RETURN NULL;
END
$$;

COMMENT ON FUNCTION internal.batch_committed() IS
    'At the end of the transaction: assigns the batch its position, and notifies of the revisions';

CREATE CONSTRAINT TRIGGER batches_committed AFTER INSERT ON internal.batches
    DEFERRABLE INITIALLY DEFERRED
    FOR EACH ROW WHEN (NEW.position IS NULL) EXECUTE FUNCTION internal.batch_committed();

CREATE FUNCTION internal.misses_changed() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, public, pg_temp
SET plan_cache_mode = force_generic_plan
SET enable_seqscan = off
AS $$
DECLARE
    touched internal.touched[];
BEGIN
    -- 1. The changed minutes by index, in the order of names.
    IF TG_OP = 'TRUNCATE' THEN
        DELETE FROM internal.miss_islands;
        RETURN NULL;
    ELSIF TG_OP = 'UPDATE' THEN
        touched := ARRAY(
            SELECT ROW(ticker, min(minute), NULL, NULL,
                       array_agg(DISTINCT time_bucket(INTERVAL '1 hour', minute))
                   )::internal.touched
              FROM (
                SELECT ticker, minute FROM former
                 UNION
                SELECT ticker, minute FROM changed
              ) AS miss
             GROUP BY ticker
             ORDER BY ticker);
    ELSE
        touched := ARRAY(
            SELECT ROW(ticker, min(minute), NULL, NULL,
                       array_agg(DISTINCT time_bucket(INTERVAL '1 hour', minute))
                   )::internal.touched
              FROM changed
             GROUP BY ticker
             ORDER BY ticker);
    END IF;
    IF touched = '{}' THEN
        RETURN NULL;
    END IF;

    -- 2. The index is tracked from its first polled minute on. Its row stays locked until the
    --    commit, as in prices_changed(); misses do not change the revision.
    INSERT INTO tickers AS known (ticker, since)
    SELECT ticker, first_minute
      FROM unnest(touched)
        ON CONFLICT (ticker) DO UPDATE
       SET since = greatest(least(known.since, excluded.since), known.kept_since);

    -- 3. Recompute islands as in prices_changed(), separately for each reason.
    WITH hour AS (
        SELECT change.ticker, start
          FROM unnest(touched) AS change
         CROSS JOIN unnest(change.hours) AS start
    ), reach AS (
        SELECT ticker, min(start) AS first_hour, max(start) AS last_hour,
               range_agg(tstzrange(start, start + INTERVAL '1 hour')) AS hours,
               range_agg(tstzrange(start - INTERVAL '1 min', start + INTERVAL '61 min')) AS nearby
          FROM hour
         GROUP BY ticker
    ), cut AS (
        DELETE FROM internal.miss_islands
         WHERE ctid = ANY (ARRAY(
            SELECT near.id
              FROM reach
             CROSS JOIN LATERAL (
                SELECT ctid AS id
                  FROM internal.miss_islands
                 WHERE ticker = reach.ticker
                   AND since >= coalesce(
                       (SELECT earlier.since
                          FROM internal.miss_islands AS earlier
                         WHERE earlier.ticker = reach.ticker AND earlier.since < reach.first_hour
                         ORDER BY earlier.since DESC
                         LIMIT 1),
                       reach.first_hour)
                   AND since <= reach.last_hour + INTERVAL '1 hour'
                   AND tstzrange(since, until) && reach.nearby
                OFFSET 0 -- forces a range scan of the primary key for each index
              ) AS near))
        RETURNING ticker, reason, tstzmultirange(tstzrange(since, until)) AS minutes
    ), part (ticker, reason, minutes) AS (
        SELECT cut.ticker, cut.reason, cut.minutes - reach.hours
          FROM cut
          JOIN reach ON reach.ticker = cut.ticker
         UNION ALL
        SELECT hour.ticker, recorded.reason, recorded.minutes
          FROM hour
         CROSS JOIN LATERAL (
            SELECT reason, range_agg(tstzrange(minute, minute + INTERVAL '1 min')) AS minutes
              FROM misses
             WHERE misses.ticker = hour.ticker
               AND misses.minute >= hour.start
               AND misses.minute < hour.start + INTERVAL '1 hour'
             GROUP BY reason
         ) AS recorded
    )
    INSERT INTO internal.miss_islands (ticker, since, until, reason)
    SELECT ticker, lower(island), upper(island), reason
      FROM (
        SELECT ticker, reason, unnest(range_agg(minutes)) AS island
          FROM part
         GROUP BY ticker, reason
      ) AS islands;
    RETURN NULL;
END
$$;

COMMENT ON FUNCTION internal.misses_changed() IS
    'After a change of misses: updates the first tracked minute and the islands';

CREATE TRIGGER misses_inserted AFTER INSERT ON misses
    REFERENCING NEW TABLE AS changed
    FOR EACH STATEMENT EXECUTE FUNCTION internal.misses_changed();

CREATE TRIGGER misses_updated AFTER UPDATE ON misses
    REFERENCING OLD TABLE AS former NEW TABLE AS changed
    FOR EACH STATEMENT EXECUTE FUNCTION internal.misses_changed();

CREATE TRIGGER misses_deleted AFTER DELETE ON misses
    REFERENCING OLD TABLE AS changed
    FOR EACH STATEMENT EXECUTE FUNCTION internal.misses_changed();

CREATE TRIGGER misses_truncated AFTER TRUNCATE ON misses
    FOR EACH STATEMENT EXECUTE FUNCTION internal.misses_changed();

CREATE FUNCTION internal.tickers_deleted() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, public, pg_temp
AS $$
BEGIN
    DELETE FROM internal.changes
     WHERE NOT EXISTS (SELECT FROM tickers WHERE tickers.ticker = changes.ticker);
    DELETE FROM internal.month_revisions AS dated
     WHERE NOT EXISTS (SELECT FROM tickers WHERE tickers.ticker = dated.ticker);
    RETURN NULL;
END
$$;

COMMENT ON FUNCTION internal.tickers_deleted() IS
    'Deletes the change log of deleted indexes: if an index returns, its revisions restart at 1';

CREATE TRIGGER tickers_deleted AFTER DELETE OR TRUNCATE ON tickers
    FOR EACH STATEMENT EXECUTE FUNCTION internal.tickers_deleted();

REVOKE EXECUTE ON ALL FUNCTIONS IN SCHEMA internal FROM PUBLIC;
