-- How many waiting lines of each index are from before a moment.
SELECT ticker, count(*)
  FROM incoming
 WHERE created_at < %(kept_since)s
 GROUP BY ticker
