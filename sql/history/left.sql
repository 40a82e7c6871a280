-- How many lines still wait for each index.
SELECT ticker, count(*)
  FROM incoming
 GROUP BY ticker
