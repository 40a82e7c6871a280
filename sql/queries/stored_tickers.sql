-- Every index that has been tracked, by name.
SELECT ticker
  FROM tickers
 ORDER BY ticker
