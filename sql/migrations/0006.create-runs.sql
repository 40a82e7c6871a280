-- What is missing, and why, must be told at once after years: runs of stored minutes, and runs of
-- misses with one reason, instead of their minutes one by one. Both are kept exact by the
-- transaction that changes the rows below them, hour by hour: runs that reach into an hour that a
-- statement touches are cut there, the hour is read again, and what touches becomes one run.
-- depends: 0005.create-candles
CREATE TABLE price_runs (
    ticker text        NOT NULL,
    since  timestamptz NOT NULL,
    until  timestamptz NOT NULL,
    PRIMARY KEY (ticker, since) INCLUDE (until),
    CHECK (since < until)
);

COMMENT ON TABLE price_runs IS 'Stored minutes on end: each run as long as it can be';
COMMENT ON COLUMN price_runs.ticker IS 'Deribit''s index name';
COMMENT ON COLUMN price_runs.since IS 'The first UTC minute of the run';
COMMENT ON COLUMN price_runs.until IS 'The first UTC minute after the run; it has no price';

CREATE TABLE miss_runs (
    ticker text        NOT NULL,
    since  timestamptz NOT NULL,
    until  timestamptz NOT NULL,
    reason text        NOT NULL,
    PRIMARY KEY (ticker, since) INCLUDE (until, reason),
    CHECK (since < until)
);

COMMENT ON TABLE miss_runs IS
    'Recorded misses on end with one reason: each run as long as it can be';
COMMENT ON COLUMN miss_runs.ticker IS 'Deribit''s index name';
COMMENT ON COLUMN miss_runs.since IS 'The first UTC minute of the run';
COMMENT ON COLUMN miss_runs.until IS 'The first UTC minute after the run';
COMMENT ON COLUMN miss_runs.reason IS 'The reason of every miss in the run';

-- Fired after its namesake on the same table, which has locked the index's row in tickers.
CREATE FUNCTION price_runs_changed() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    WITH hour AS (
        SELECT DISTINCT ticker, date_trunc('hour', created_at, 'UTC') AS start
          FROM changed
    ), touched AS (
        SELECT ticker, min(start) AS first, max(start) AS last,
               range_agg(tstzrange(start, start + INTERVAL '1 hour')) AS hours,
               range_agg(tstzrange(start - INTERVAL '1 min', start + INTERVAL '61 min')) AS near
          FROM hour
         GROUP BY ticker
    ), cut AS (
        DELETE FROM price_runs AS run
         USING touched
         WHERE run.ticker = touched.ticker
           AND run.since >= coalesce(
               (SELECT max(before.since)
                  FROM price_runs AS before
                 WHERE before.ticker = touched.ticker AND before.since < touched.first),
               touched.first)
           AND run.since <= touched.last + INTERVAL '1 hour'
           AND tstzrange(run.since, run.until) && touched.near
        RETURNING run.ticker, tstzrange(run.since, run.until) AS minutes
    ), part AS (
        SELECT cut.ticker, range_agg(cut.minutes) - touched.hours AS minutes
          FROM cut
          JOIN touched ON touched.ticker = cut.ticker
         GROUP BY cut.ticker, touched.hours
         UNION ALL
        SELECT hour.ticker, stored.minutes
          FROM hour
         CROSS JOIN LATERAL (
            SELECT range_agg(tstzrange(created_at, created_at + INTERVAL '1 min')) AS minutes
              FROM prices
             WHERE prices.ticker = hour.ticker
               AND prices.created_at >= hour.start
               AND prices.created_at < hour.start + INTERVAL '1 hour'
         ) AS stored
    )
    INSERT INTO price_runs (ticker, since, until)
    SELECT ticker, lower(run), upper(run)
      FROM (SELECT ticker, unnest(range_agg(minutes)) AS run FROM part GROUP BY ticker) AS runs;
    RETURN NULL;
END
$$;

COMMENT ON FUNCTION price_runs_changed() IS 'Brings price_runs up to date with changed prices';

-- A minute that was asked for is tracked. The update locks the index's row, as prices_changed()
-- does, so that each writer of one index reads what the one before it committed.
CREATE FUNCTION misses_changed() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO tickers AS known (ticker, since)
    SELECT ticker, min(minute)
      FROM changed
     GROUP BY ticker
     ORDER BY ticker
        ON CONFLICT (ticker) DO UPDATE
       SET since = least(known.since, excluded.since);

    WITH hour AS (
        SELECT DISTINCT ticker, date_trunc('hour', minute, 'UTC') AS start
          FROM changed
    ), touched AS (
        SELECT ticker, min(start) AS first, max(start) AS last,
               range_agg(tstzrange(start, start + INTERVAL '1 hour')) AS hours,
               range_agg(tstzrange(start - INTERVAL '1 min', start + INTERVAL '61 min')) AS near
          FROM hour
         GROUP BY ticker
    ), cut AS (
        DELETE FROM miss_runs AS run
         USING touched
         WHERE run.ticker = touched.ticker
           AND run.since >= coalesce(
               (SELECT max(before.since)
                  FROM miss_runs AS before
                 WHERE before.ticker = touched.ticker AND before.since < touched.first),
               touched.first)
           AND run.since <= touched.last + INTERVAL '1 hour'
           AND tstzrange(run.since, run.until) && touched.near
        RETURNING run.ticker, run.reason, tstzrange(run.since, run.until) AS minutes
    ), part AS (
        SELECT cut.ticker, cut.reason, range_agg(cut.minutes) - touched.hours AS minutes
          FROM cut
          JOIN touched ON touched.ticker = cut.ticker
         GROUP BY cut.ticker, cut.reason, touched.hours
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
    INSERT INTO miss_runs (ticker, since, until, reason)
    SELECT ticker, lower(run), upper(run), reason
      FROM (SELECT ticker, reason, unnest(range_agg(minutes)) AS run
              FROM part
             GROUP BY ticker, reason) AS runs;
    RETURN NULL;
END
$$;

COMMENT ON FUNCTION misses_changed() IS
    'Tracks the index, and brings miss_runs up to date with changed misses';

CREATE FUNCTION price_runs_emptied() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    DELETE FROM price_runs;
    RETURN NULL;
END
$$;

COMMENT ON FUNCTION price_runs_emptied() IS 'Empties price_runs with the prices';

CREATE FUNCTION misses_emptied() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    DELETE FROM miss_runs;
    RETURN NULL;
END
$$;

COMMENT ON FUNCTION misses_emptied() IS 'Empties miss_runs with the misses';

CREATE TRIGGER prices_truncated_runs AFTER TRUNCATE ON prices
    FOR EACH STATEMENT EXECUTE FUNCTION price_runs_emptied();
CREATE TRIGGER prices_inserted_runs AFTER INSERT ON prices
    REFERENCING NEW TABLE AS changed
    FOR EACH STATEMENT EXECUTE FUNCTION price_runs_changed();
CREATE TRIGGER prices_deleted_runs AFTER DELETE ON prices
    REFERENCING OLD TABLE AS changed
    FOR EACH STATEMENT EXECUTE FUNCTION price_runs_changed();
CREATE TRIGGER prices_updated_from_runs AFTER UPDATE ON prices
    REFERENCING OLD TABLE AS changed
    FOR EACH STATEMENT EXECUTE FUNCTION price_runs_changed();
CREATE TRIGGER prices_updated_to_runs AFTER UPDATE ON prices
    REFERENCING NEW TABLE AS changed
    FOR EACH STATEMENT EXECUTE FUNCTION price_runs_changed();

CREATE TRIGGER misses_truncated AFTER TRUNCATE ON misses
    FOR EACH STATEMENT EXECUTE FUNCTION misses_emptied();
CREATE TRIGGER misses_inserted AFTER INSERT ON misses
    REFERENCING NEW TABLE AS changed
    FOR EACH STATEMENT EXECUTE FUNCTION misses_changed();
CREATE TRIGGER misses_deleted AFTER DELETE ON misses
    REFERENCING OLD TABLE AS changed
    FOR EACH STATEMENT EXECUTE FUNCTION misses_changed();
CREATE TRIGGER misses_updated_from AFTER UPDATE ON misses
    REFERENCING OLD TABLE AS changed
    FOR EACH STATEMENT EXECUTE FUNCTION misses_changed();
CREATE TRIGGER misses_updated_to AFTER UPDATE ON misses
    REFERENCING NEW TABLE AS changed
    FOR EACH STATEMENT EXECUTE FUNCTION misses_changed();

-- Nobody else writes meanwhile: whoever makes a trigger locks its table until the end.
INSERT INTO price_runs (ticker, since, until)
SELECT ticker, lower(run), upper(run)
  FROM (
    SELECT hour.ticker, unnest(range_agg(stored.minutes)) AS run
      FROM candles_1h AS hour
     CROSS JOIN LATERAL (
        SELECT range_agg(tstzrange(created_at, created_at + INTERVAL '1 min')) AS minutes
          FROM prices
         WHERE prices.ticker = hour.ticker
           AND prices.created_at >= hour.bucket
           AND prices.created_at < hour.bucket + INTERVAL '1 hour'
     ) AS stored
     GROUP BY hour.ticker
  ) AS runs;

INSERT INTO miss_runs (ticker, since, until, reason)
SELECT ticker, lower(run), upper(run), reason
  FROM (
    SELECT ticker, reason,
           unnest(range_agg(tstzrange(minute, minute + INTERVAL '1 min'))) AS run
      FROM misses
     GROUP BY ticker, reason
  ) AS runs;
