-- How many lines wait for each index, and for how many minutes, by name.
SELECT ticker, count(*), count(DISTINCT created_at)
  FROM incoming
 GROUP BY ticker
 ORDER BY ticker
