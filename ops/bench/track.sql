-- Tracks the indexes of the prices, which rebuild() needs.
INSERT INTO tickers (ticker, since)
SELECT ticker, min(created_at)
  FROM prices
 GROUP BY ticker
