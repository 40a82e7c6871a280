-- Numbers of polled, charted and imported minutes of one index in [since, until), which are whole
-- hours: a row for each bucket of width with prices, newest first.
SELECT time_bucket(%(width)s::interval, bucket) AS start,
       sum(polled) AS polled, sum(charted) AS chart, sum(imported) AS import
  FROM candles_1h
 WHERE ticker = %(ticker)s
   AND bucket >= %(since)s::timestamptz
   AND bucket < %(until)s::timestamptz
 GROUP BY start
 ORDER BY start DESC
