-- Minutes without a price that the exchange's charts may still have, oldest first: every minute of
-- [recent, until], and since an index is tracked every fifth minute of [since, recent).
SELECT asked.ticker, grid.minute
  FROM unnest(%(tickers)s::text[]) AS asked (ticker)
  LEFT JOIN tickers AS known
    ON known.ticker = asked.ticker
 CROSS JOIN (
    SELECT generate_series(
               %(recent)s::timestamptz, %(until)s::timestamptz, make_interval(mins => 1))
     UNION ALL
    SELECT generate_series(
               %(since)s::timestamptz, %(recent)s::timestamptz - make_interval(mins => 1),
               make_interval(mins => 5))
  ) AS grid (minute)
 WHERE (grid.minute >= %(recent)s::timestamptz OR grid.minute >= known.since)
   AND NOT EXISTS (
    SELECT
      FROM prices
     WHERE prices.ticker = asked.ticker
       AND prices.created_at = grid.minute
       AND prices.created_at >= %(since)s::timestamptz
       AND prices.created_at <= %(until)s::timestamptz)
 ORDER BY asked.ticker, grid.minute
