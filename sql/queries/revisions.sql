-- How often each index that is tracked has changed, by name.
SELECT ticker, revision
  FROM tickers
 ORDER BY ticker
