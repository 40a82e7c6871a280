-- How many minutes of one index were polled, charted and imported, in each bucket of width that has
-- any, by its start, newest first. [since, until) is whole hours.
SELECT time_bucket(%(width)s::interval, bucket) AS start,
       sum(polled) AS polled, sum(charted) AS chart, sum(imported) AS import
  FROM candles_1h
 WHERE ticker = %(ticker)s
   AND bucket >= %(since)s::timestamptz
   AND bucket < %(until)s::timestamptz
 GROUP BY start
 ORDER BY start DESC
