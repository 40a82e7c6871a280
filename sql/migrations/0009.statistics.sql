-- Statistics of a range of minutes, for analysts and the API: of the stored prices in [since, until)
-- alone, and never across a gap. Prices and their averages are exact decimals; logarithms and what
-- follows from them are doubles.
-- depends: 0008.service_state
CREATE FUNCTION log_returns(ticker text, since timestamptz, until timestamptz)
RETURNS TABLE (created_at timestamptz, log_return double precision)
LANGUAGE sql STABLE PARALLEL SAFE ROWS 1000 AS $$
    SELECT step.created_at, ln(step.price / step.previous)
      FROM (
        SELECT minute.created_at, minute.price::double precision AS price,
               lag(minute.price::double precision) OVER ascending AS previous,
               minute.created_at - lag(minute.created_at) OVER ascending AS width
          FROM prices AS minute
         WHERE minute.ticker = log_returns.ticker
           AND minute.created_at >= log_returns.since
           AND minute.created_at < log_returns.until
        WINDOW ascending AS (ORDER BY minute.created_at)
      ) AS step
     WHERE step.width = INTERVAL '1 min'
     UNION ALL
    -- No rows, but an error for an invalid argument.
    SELECT NULL, NULL
     WHERE NOT internal.check_window('1 min', log_returns.since, log_returns.until, 'UTC')
     ORDER BY 1
$$;

COMMENT ON FUNCTION log_returns(text, timestamptz, timestamptz) IS
    'Log returns of one index, ascending: ln(price / previous price) of each minute in [since, until) whose previous minute is stored in [since, until) too. None spans a gap';

-- The last island that begins at or before the first minute may reach into the range. Pairs of the
-- elements of an array cost a third of what lag() does. The log returns of an island add up to that
-- from its first price to its last.
CREATE FUNCTION internal.island_statistics(ticker text, since timestamptz, until timestamptz)
RETURNS TABLE (
    start timestamptz, samples bigint, first numeric, last numeric, total numeric,
    log_return double precision, squares double precision)
LANGUAGE sql STABLE PARALLEL SAFE ROWS 100 AS $$
    SELECT greatest(island.since, date_trunc(
               'minute', island_statistics.since + INTERVAL '59.999999 s', 'UTC')),
           minutes.samples, minutes.prices[1], minutes.prices[minutes.samples], minutes.total,
           ln(minutes.prices[minutes.samples]::double precision
              / minutes.prices[1]::double precision),
           (SELECT coalesce(sum(step.log_return * step.log_return), 0)
              FROM (
                SELECT ln(unnest(list.prices[2:]) / unnest(list.prices)) AS log_return
                  FROM (SELECT minutes.prices::double precision[] AS prices OFFSET 0) AS list
                OFFSET 0
              ) AS step)
      FROM internal.price_islands AS island
     CROSS JOIN LATERAL (
        SELECT count(*) AS samples, sum(minute.price) AS total,
               array_agg(minute.price ORDER BY minute.created_at) AS prices
          FROM prices AS minute
         WHERE minute.ticker = island_statistics.ticker
           AND minute.created_at >= island_statistics.since
           AND minute.created_at < island_statistics.until
           AND minute.created_at >= island.since
           AND minute.created_at < island.until
      ) AS minutes
     WHERE island.ticker = island_statistics.ticker
       AND island.since < island_statistics.until
       AND island.since >= coalesce(
           (SELECT max(earlier.since)
              FROM internal.price_islands AS earlier
             WHERE earlier.ticker = island_statistics.ticker
               AND earlier.since <= island_statistics.since),
           island_statistics.since)
       AND minutes.samples > 0
$$;

COMMENT ON FUNCTION internal.island_statistics(text, timestamptz, timestamptz) IS
    'Each island of consecutive minutes in [since, until): its first, last and added prices, and the sums of its log returns and of their squares';

CREATE FUNCTION twap(ticker text, since timestamptz, until timestamptz) RETURNS numeric
LANGUAGE sql STABLE PARALLEL SAFE AS $$
    SELECT sum(total - (first + last) * 0.5) / nullif(sum(samples - 1), 0)
      FROM internal.island_statistics(twap.ticker, twap.since, twap.until)
     WHERE internal.check_window('1 min', twap.since, twap.until, 'UTC')
$$;

COMMENT ON FUNCTION twap(text, timestamptz, timestamptz) IS
    'The time-weighted average price of one index, of the minutes in [since, until): from each minute to the next the average of their two prices. Time across a gap has no weight; null without two adjacent minutes';

CREATE FUNCTION realised_volatility(ticker text, since timestamptz, until timestamptz)
RETURNS double precision
LANGUAGE sql STABLE PARALLEL SAFE AS $$
    SELECT sqrt(525600 * sum(squares) / nullif(sum(samples - 1), 0)::double precision)
      FROM internal.island_statistics(
          realised_volatility.ticker, realised_volatility.since, realised_volatility.until)
     WHERE internal.check_window(
         '1 min', realised_volatility.since, realised_volatility.until, 'UTC')
$$;

COMMENT ON FUNCTION realised_volatility(text, timestamptz, timestamptz) IS
    'The annualised realised volatility of one index: the square root of the mean square of log_returns() in [since, until), times that of 525,600, the minutes of 365 days. A fraction: 0.5 is 50 per cent. Gaps have no weight; null without two adjacent minutes';

-- The rollup has the extremes and sources of whole hours. An hour of which retention has dropped
-- the minutes is none.
CREATE FUNCTION internal.range_parts(ticker text, since timestamptz, until timestamptz)
RETURNS TABLE (
    start timestamptz, stop timestamptz, high numeric, low numeric,
    polled integer, charted integer, imported integer)
LANGUAGE sql STABLE PARALLEL SAFE ROWS 1000 AS $$
    SELECT hour.bucket, hour.bucket + INTERVAL '1 hour', hour.high, hour.low,
           hour.polled, hour.charted, hour.imported
      FROM tickers AS known
      JOIN candles_1h AS hour
        ON hour.ticker = range_parts.ticker
       AND hour.bucket >= range_parts.since
       AND hour.bucket <= range_parts.until - INTERVAL '1 hour'
       AND hour.bucket > known.since - INTERVAL '1 hour'
     WHERE known.ticker = range_parts.ticker
     UNION ALL
    SELECT minute.created_at, minute.created_at + INTERVAL '1 min', minute.price, minute.price,
           (minute.source = 'poll')::integer, (minute.source = 'chart')::integer,
           (minute.source = 'import')::integer
      FROM prices AS minute
     WHERE minute.ticker = range_parts.ticker
       AND minute.created_at >= range_parts.since
       AND minute.created_at < range_parts.until
       AND minute.created_at < date_trunc(
               'hour', range_parts.since + INTERVAL '59:59.999999', 'UTC')
     UNION ALL
    SELECT minute.created_at, minute.created_at + INTERVAL '1 min', minute.price, minute.price,
           (minute.source = 'poll')::integer, (minute.source = 'chart')::integer,
           (minute.source = 'import')::integer
      FROM prices AS minute
     WHERE minute.ticker = range_parts.ticker
       AND minute.created_at >= date_trunc(
               'hour', range_parts.since + INTERVAL '59:59.999999', 'UTC')
       AND minute.created_at >= date_trunc('hour', range_parts.until, 'UTC')
       AND minute.created_at < range_parts.until
$$;

COMMENT ON FUNCTION internal.range_parts(text, timestamptz, timestamptz) IS
    'What [since, until) is made of: the whole hours with prices, and the stored minutes before and after them';

-- The maximum drawdown is searched by the hour. The low of an hour is certain to have fallen from
-- the highest price of the hours before it, and may have fallen from that of its own: only hours
-- whose fall may be larger than the largest certain one are read by the minute.
CREATE FUNCTION stats(ticker text, since timestamptz, until timestamptz)
RETURNS TABLE (
    first_at timestamptz, first numeric, last_at timestamptz, last numeric,
    high_at timestamptz, high numeric, low_at timestamptz, low numeric,
    change numeric, change_percent numeric, mean numeric, twap numeric,
    log_returns bigint, log_return_mean double precision, log_return_stddev double precision,
    realised_volatility double precision,
    max_drawdown_percent numeric, peak_at timestamptz, peak numeric,
    trough_at timestamptz, trough numeric,
    samples bigint, polled bigint, charted bigint, imported bigint,
    expected bigint, missing bigint, ratio numeric)
LANGUAGE sql STABLE PARALLEL SAFE ROWS 1 AS $$
    WITH island AS MATERIALIZED (
        SELECT * FROM internal.island_statistics(stats.ticker, stats.since, stats.until)
    ), part AS MATERIALIZED (
        SELECT * FROM internal.range_parts(stats.ticker, stats.since, stats.until)
    ), fall AS MATERIALIZED (
        SELECT each.start, each.stop, each.earlier_high,
               each.low / each.earlier_high AS certain,
               each.low / greatest(each.earlier_high, each.high) AS possible
          FROM (
            SELECT part.*, max(part.high) OVER (
                       ORDER BY part.start ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING
                   ) AS earlier_high
              FROM part
          ) AS each
    ), trough AS MATERIALIZED (
        SELECT minute.created_at, minute.price, minute.peak
          FROM (
            SELECT minute.created_at, minute.price,
                   greatest(fall.earlier_high, max(minute.price) OVER (
                       PARTITION BY fall.start ORDER BY minute.created_at)) AS peak
              FROM (SELECT * FROM fall ORDER BY fall.certain, fall.start LIMIT 1) AS worst
              JOIN fall
                ON worst.certain IS NULL
                OR fall.possible < worst.certain
                OR fall.possible = worst.certain AND fall.start <= worst.start
              JOIN prices AS minute
                ON minute.ticker = stats.ticker
               AND minute.created_at >= stats.since
               AND minute.created_at < stats.until
               AND minute.created_at >= fall.start
               AND minute.created_at < fall.stop
          ) AS minute
         ORDER BY minute.price / minute.peak, minute.created_at
         LIMIT 1
    )
    SELECT sums.first_at, sums.first, sums.last_at, sums.last,
           high.created_at, high.price, low.created_at, low.price,
           sums.last - sums.first, round(100 * (sums.last / sums.first - 1), 4),
           sums.total / sums.samples, sums.weighted / nullif(sums.pairs, 0),
           coalesce(sums.pairs, 0), sums.log_return / nullif(sums.pairs, 0),
           CASE WHEN sums.pairs > 1 THEN
               sqrt(greatest(sums.squares - sums.log_return ^ 2 / sums.pairs, 0) / (sums.pairs - 1))
           END,
           sqrt(525600 * sums.squares / nullif(sums.pairs, 0)),
           round(100 * (trough.price / trough.peak - 1), 4),
           peak.created_at, trough.peak, trough.created_at, trough.price,
           stored.samples, stored.polled, stored.charted, stored.imported,
           stored.samples + lacking.minutes, lacking.minutes,
           trunc(stored.samples::numeric / nullif(stored.samples + lacking.minutes, 0), 4)
      FROM (
        SELECT min(start) AS first_at, first(first, start) AS first,
               max(start + (samples - 1) * INTERVAL '1 min') AS last_at, last(last, start) AS last,
               sum(samples) AS samples, sum(total) AS total,
               sum(samples - 1)::bigint AS pairs, sum(total - (first + last) * 0.5) AS weighted,
               sum(log_return) AS log_return, sum(squares) AS squares
          FROM island
      ) AS sums
     CROSS JOIN (
        SELECT coalesce(sum(polled + charted + imported), 0) AS samples,
               coalesce(sum(polled), 0) AS polled, coalesce(sum(charted), 0) AS charted,
               coalesce(sum(imported), 0) AS imported
          FROM part
      ) AS stored
     CROSS JOIN (
        SELECT coalesce(sum(minutes), 0)::bigint AS minutes
          FROM gaps(stats.ticker, stats.since, stats.until)
      ) AS lacking
      LEFT JOIN (
        SELECT part.high AS price,
               (SELECT min(minute.created_at)
                  FROM prices AS minute
                 WHERE minute.ticker = stats.ticker
                   AND minute.created_at >= stats.since
                   AND minute.created_at < stats.until
                   AND minute.created_at >= part.start
                   AND minute.created_at < part.stop
                   AND minute.price = part.high) AS created_at
          FROM part
         ORDER BY part.high DESC, part.start
         LIMIT 1
      ) AS high ON true
      LEFT JOIN (
        SELECT part.low AS price,
               (SELECT min(minute.created_at)
                  FROM prices AS minute
                 WHERE minute.ticker = stats.ticker
                   AND minute.created_at >= stats.since
                   AND minute.created_at < stats.until
                   AND minute.created_at >= part.start
                   AND minute.created_at < part.stop
                   AND minute.price = part.low) AS created_at
          FROM part
         ORDER BY part.low, part.start
         LIMIT 1
      ) AS low ON true
      LEFT JOIN trough ON true
      LEFT JOIN LATERAL (
        -- The hour of the trough may have the same price after it; then the one before counts.
        SELECT max(minute.created_at) AS created_at
          FROM (
            SELECT part.start, part.stop
              FROM part
             WHERE part.start <= trough.created_at
               AND part.high >= trough.peak
             ORDER BY part.start DESC
             LIMIT 2
          ) AS latest
          JOIN prices AS minute
            ON minute.ticker = stats.ticker
           AND minute.created_at >= stats.since
           AND minute.created_at < stats.until
           AND minute.created_at >= latest.start
           AND minute.created_at < latest.stop
           AND minute.created_at <= trough.created_at
           AND minute.price = trough.peak
      ) AS peak ON true
     WHERE internal.check_window('1 min', stats.since, stats.until, 'UTC')
$$;

COMMENT ON FUNCTION stats(text, timestamptz, timestamptz) IS
    'Statistics of one index, of its stored prices in [since, until): one row. change: last - first; twap, log_returns and realised_volatility: as the functions of these names; the doubles are of log returns between adjacent stored minutes. max_drawdown_percent is the largest fall below an earlier price, from the last minute of the peak to the first one of the trough. samples = polled + charted + imported; missing: the minutes of gaps(); expected = samples + missing';
