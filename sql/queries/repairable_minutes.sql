-- Minutes without a price that the exchange's charts may have, ascending for each index: all of
-- [recent, until], and from the first tracked minute on every fifth minute of [since, recent).
SELECT requested.ticker, grid.minute
  FROM unnest(%(tickers)s::text[]) AS requested (ticker)
  LEFT JOIN tickers AS known
    ON known.ticker = requested.ticker
 CROSS JOIN (
    SELECT generate_series(
               %(recent)s::timestamptz, %(until)s::timestamptz, INTERVAL '1 minute')
     UNION ALL
    SELECT generate_series(
               %(since)s::timestamptz, %(recent)s::timestamptz - INTERVAL '1 minute',
               INTERVAL '5 minutes')
  ) AS grid (minute)
 WHERE (grid.minute >= %(recent)s::timestamptz OR grid.minute >= known.since)
   AND NOT EXISTS (
    SELECT
      FROM prices
     WHERE prices.ticker = requested.ticker
       AND prices.created_at = grid.minute
       AND prices.created_at >= %(since)s::timestamptz
       AND prices.created_at <= %(until)s::timestamptz)
 ORDER BY requested.ticker, grid.minute
