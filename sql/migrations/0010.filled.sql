-- Series without holes, for analysts and the API.
-- depends: 0009.statistics

-- A gap is between two islands, and its minutes have the last price of the first: therefore the
-- previous price is looked up once for each gap.
CREATE FUNCTION filled(ticker text, since timestamptz, until timestamptz)
RETURNS TABLE (created_at timestamptz, price numeric, filled boolean)
LANGUAGE sql STABLE PARALLEL SAFE ROWS 1000 AS $$
    SELECT minute.created_at, minute.price, false
      FROM prices AS minute
     WHERE minute.ticker = filled.ticker
       AND minute.created_at >= filled.since
       AND minute.created_at < filled.until
     UNION ALL
    SELECT missing.minute, newest.price, true
      FROM (
        SELECT CASE WHEN filled.since = '-infinity' THEN known.since
               ELSE date_trunc('minute', filled.since + INTERVAL '59.999999 s', 'UTC')
               END AS first_minute,
               least(date_trunc('minute', filled.until + INTERVAL '59.999999 s', 'UTC'),
                   date_trunc('minute', now(), 'UTC')) AS stop
          FROM (VALUES (filled.ticker)) AS wanted (ticker)
          LEFT JOIN tickers AS known
            ON known.ticker = wanted.ticker
      ) AS expected
     CROSS JOIN LATERAL (
        SELECT island.until AS newest_until,
               greatest(island.until, expected.first_minute) AS start,
               least(lead(island.since) OVER (ORDER BY island.since), expected.stop) AS stop
          FROM (
            SELECT earlier.since, earlier.until
              FROM internal.price_islands AS earlier
             WHERE earlier.ticker = filled.ticker
               AND earlier.since < expected.stop
               AND earlier.since >= coalesce(
                   (SELECT max(first.since)
                      FROM internal.price_islands AS first
                     WHERE first.ticker = filled.ticker
                       AND first.since <= expected.first_minute),
                   expected.first_minute)
             UNION ALL
            SELECT '-infinity', NULL  -- before the first price
          ) AS island
      ) AS gap
      LEFT JOIN LATERAL (
        SELECT minute.price
          FROM prices AS minute
         WHERE minute.ticker = filled.ticker
           AND minute.created_at < filled.until
           AND minute.created_at = gap.newest_until - INTERVAL '1 min'
         LIMIT 1  -- from the index for each gap, never by a join of all prices
      ) AS newest ON true
     CROSS JOIN LATERAL generate_series(
           gap.start, gap.stop - INTERVAL '1 min', INTERVAL '1 min') AS missing (minute)
     UNION ALL
    -- No rows, but an error for an invalid argument.
    SELECT NULL, NULL, NULL
     WHERE NOT internal.check_window('1 min', filled.since, filled.until, 'UTC')
     ORDER BY 1
$$;

COMMENT ON FUNCTION filled(text, timestamptz, timestamptz) IS
    'Every minute in [since, until) of one index up to the last complete one, ascending: with its price, or, where filled, with that of the last minute before it that has one, which may lie before since; null before the first price. From ''-infinity'': from the first tracked minute';
