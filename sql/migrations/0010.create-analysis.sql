-- What analysts ask for, so that nobody has to know how it is stored: from the rollup where that
-- is enough, bounded in time on both sides, and the same in every session's time zone. Functions
-- of one plain SELECT, which the planner takes into the query around them.
-- depends: 0009.create-roles
CREATE VIEW latest_prices AS
SELECT known.ticker, newest.price, newest.created_at, newest.observed_at, newest.source
  FROM tickers AS known
 CROSS JOIN LATERAL (
    SELECT until - INTERVAL '1 min' AS minute
      FROM price_runs
     WHERE ticker = known.ticker
     ORDER BY since DESC
     LIMIT 1
  ) AS last
  JOIN prices AS newest
    ON newest.ticker = known.ticker
   AND newest.created_at = last.minute;

COMMENT ON VIEW latest_prices IS 'The newest price of each index that has one';
COMMENT ON COLUMN latest_prices.ticker IS 'Deribit''s index name';
COMMENT ON COLUMN latest_prices.price IS 'In the index''s quote currency, exact';
COMMENT ON COLUMN latest_prices.created_at IS 'The UTC minute the price belongs to';
COMMENT ON COLUMN latest_prices.observed_at IS 'The exchange''s clock when it gave the value';
COMMENT ON COLUMN latest_prices.source IS
    'poll: asked for in its minute; chart: an average from chart data';

CREATE FUNCTION price_at(ticker text, moment timestamptz) RETURNS numeric
LANGUAGE sql STABLE PARALLEL SAFE AS $$
    SELECT prices.price
      FROM prices
     WHERE prices.ticker = price_at.ticker
       AND prices.created_at = date_trunc('minute', price_at.moment, 'UTC')
$$;

COMMENT ON FUNCTION price_at(text, timestamptz) IS
    'The price of the minute that contains the moment; null if there is none';

CREATE FUNCTION next_bucket(width interval, moment timestamptz) RETURNS timestamptz
LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
    SELECT time_bucket(
        width, (moment AT TIME ZONE 'UTC' + width - INTERVAL '1 us') AT TIME ZONE 'UTC')
$$;

COMMENT ON FUNCTION next_bucket(interval, timestamptz) IS
    'The start of the first bucket, width wide, that begins at the moment or after it';

CREATE FUNCTION candles(ticker text, width interval, since timestamptz, until timestamptz)
RETURNS TABLE (
    start timestamptz, open numeric, high numeric, low numeric, close numeric, samples bigint)
LANGUAGE sql STABLE PARALLEL SAFE ROWS 1000 AS $$
    SELECT time_bucket(candles.width, hour.bucket) AS start,
           first(hour.open, hour.bucket) AS open, max(hour.high) AS high, min(hour.low) AS low,
           last(hour.close, hour.bucket) AS close, sum(hour.samples)::bigint AS samples
      FROM candles_1h AS hour
     WHERE mod(extract(EPOCH FROM candles.width), 3600) = 0
       AND hour.ticker = candles.ticker
       AND hour.bucket >= next_bucket(candles.width, candles.since)
       AND hour.bucket < next_bucket(candles.width, candles.until)
     GROUP BY 1
     UNION ALL
    SELECT time_bucket(candles.width, minute.created_at),
           first(minute.price, minute.created_at), max(minute.price), min(minute.price),
           last(minute.price, minute.created_at), count(minute.price)
      FROM prices AS minute
     WHERE mod(extract(EPOCH FROM candles.width), 3600) <> 0
       AND minute.ticker = candles.ticker
       AND minute.created_at >= next_bucket(candles.width, candles.since)
       AND minute.created_at < next_bucket(candles.width, candles.until)
     GROUP BY 1
     ORDER BY 1
$$;

COMMENT ON FUNCTION candles(text, interval, timestamptz, timestamptz) IS
    'Candles of one index, each width wide, that begin in [since, until), oldest first: open, high, low, close, and how many minutes are behind them. Buckets without a price are left out. Days, weeks (from Monday) and months are those of UTC; a month is ''1 month'', ''1m'' is a minute';

CREATE FUNCTION returns(ticker text, width interval, since timestamptz, until timestamptz)
RETURNS TABLE (start timestamptz, close numeric, previous numeric, change numeric)
LANGUAGE sql STABLE PARALLEL SAFE ROWS 1000 AS $$
    SELECT step.start, step.close, step.previous, step.close / step.previous - 1
      FROM (
        SELECT candle.start, candle.close,
               CASE (lag(candle.start) OVER rising AT TIME ZONE 'UTC' + returns.width)
                    AT TIME ZONE 'UTC'
               WHEN candle.start THEN lag(candle.close) OVER rising
               END AS previous
          FROM candles(
              returns.ticker, returns.width,
              (returns.since AT TIME ZONE 'UTC' - returns.width) AT TIME ZONE 'UTC',
              returns.until) AS candle
        WINDOW rising AS (ORDER BY candle.start)
      ) AS step
     WHERE step.previous IS NOT NULL  -- an equality here would be guessed to hold for a row or two
       AND step.start >= returns.since
     ORDER BY step.start
$$;

COMMENT ON FUNCTION returns(text, interval, timestamptz, timestamptz) IS
    'How one index changed from the close of each bucket to that of the next, for buckets that begin in [since, until), oldest first; change is a part of one: 0.01 is one per cent, ln(1 + change) the log return. Left out is what has no price in the bucket before: a change over a gap is not one of this width';

-- Runs are looked for from the one on that begins at or before the first minute: it may reach in.
CREATE FUNCTION gaps(ticker text, since timestamptz, until timestamptz)
RETURNS TABLE (start timestamptz, stop timestamptz, minutes bigint, reason text)
LANGUAGE sql STABLE PARALLEL SAFE ROWS 100 AS $$
    SELECT lower(stretch.minutes), upper(stretch.minutes),
           extract(EPOCH FROM upper(stretch.minutes) - lower(stretch.minutes))::bigint / 60,
           stretch.reason
      FROM (
        SELECT asked.first, greatest(asked.first, asked.last) AS last
          FROM (
            SELECT greatest(known.since, date_trunc(
                       'minute', gaps.since + INTERVAL '59.999999 s', 'UTC')) AS first,
                   least(date_trunc('minute', gaps.until + INTERVAL '59.999999 s', 'UTC'),
                       date_trunc('minute', now(), 'UTC')) AS last
              FROM tickers AS known
             WHERE known.ticker = gaps.ticker
          ) AS asked
      ) AS expected
     CROSS JOIN LATERAL (
        SELECT tstzmultirange(tstzrange(expected.first, expected.last))
               - coalesce(range_agg(tstzrange(run.since, run.until)), '{}') AS minutes
          FROM price_runs AS run
         WHERE run.ticker = gaps.ticker
           AND run.since < expected.last
           AND run.since >= coalesce(
               (SELECT max(older.since)
                  FROM price_runs AS older
                 WHERE older.ticker = gaps.ticker AND older.since <= expected.first),
               expected.first)
      ) AS missing
     CROSS JOIN LATERAL (
        WITH told AS (
            SELECT run.reason, range_agg(tstzrange(run.since, run.until)) AS minutes
              FROM miss_runs AS run
             WHERE run.ticker = gaps.ticker
               AND run.reason <> 'not_polled'
               AND run.since < expected.last
               AND run.since >= coalesce(
                   (SELECT max(older.since)
                      FROM miss_runs AS older
                     WHERE older.ticker = gaps.ticker AND older.since <= expected.first),
                   expected.first)
             GROUP BY run.reason
        )
        SELECT told.reason, unnest(told.minutes * missing.minutes) AS minutes
          FROM told
         UNION ALL
        SELECT 'not_polled', unnest(missing.minutes - coalesce(
            (SELECT range_agg(told.minutes) FROM told), '{}'))
      ) AS stretch
     ORDER BY 1
$$;

COMMENT ON FUNCTION gaps(text, timestamptz, timestamptz) IS
    'What one index lacks of the minutes in [since, until), since it is tracked and until the last complete minute: stretches [start, stop) on end with one reason, oldest first. not_polled: nothing is recorded about them';

DO $$ BEGIN PERFORM grant_roles(); END $$;
