-- Every tracked index, by name.
SELECT ticker
  FROM tickers
 ORDER BY ticker
