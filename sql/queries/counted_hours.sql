-- How many minutes of one index are polled and how many come from charts, in each bucket of width that
-- has any, by its start, newest first. [since, until) is whole hours.
SELECT time_bucket(%(width)s::interval, bucket) AS start,
       sum(samples - charted) AS polled, sum(charted) AS chart
  FROM candles_1h
 WHERE ticker = %(ticker)s
   AND bucket >= %(since)s::timestamptz
   AND bucket < %(until)s::timestamptz
 GROUP BY start
 ORDER BY start DESC
