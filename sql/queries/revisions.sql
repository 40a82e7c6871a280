-- The revision of each tracked index, by name.
SELECT ticker, revision
  FROM tickers
 ORDER BY ticker
