-- Those of the given indexes that have never been tracked, by name.
SELECT wanted.ticker
  FROM unnest(%(tickers)s::text[]) AS wanted (ticker)
 WHERE NOT EXISTS (
    SELECT
      FROM tickers
     WHERE tickers.ticker = wanted.ticker)
 ORDER BY wanted.ticker
