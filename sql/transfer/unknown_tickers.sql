-- Given indexes that were never tracked, by name.
SELECT wanted.ticker
  FROM unnest(%(tickers)s::text[]) AS wanted (ticker)
 WHERE NOT EXISTS (
    SELECT
      FROM tickers
     WHERE tickers.ticker = wanted.ticker)
 ORDER BY wanted.ticker
