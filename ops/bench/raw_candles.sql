-- Daily candles of one index in [since, until), from its minutes.
SELECT time_bucket(INTERVAL '1 day', created_at) AS start,
       first(price, created_at) AS open, max(price) AS high, min(price) AS low,
       last(price, created_at) AS close, count(*) AS samples
  FROM prices
 WHERE ticker = %(ticker)s
   AND created_at >= %(since)s::timestamptz
   AND created_at < %(until)s::timestamptz
 GROUP BY start
 ORDER BY start
