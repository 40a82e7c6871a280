-- Candles of one index, each width wide from midnight UTC on, from its hours in [since, until], in
-- the given direction: at most count. At most max_rows hours are read: count times those of a
-- width.
SELECT time_bucket(%(width)s::interval, hour.bucket) AS start,
       first(open, hour.bucket) AS open, max(high) AS high, min(low) AS low,
       last(close, hour.bucket) AS close, sum(samples) AS samples
  FROM (
    SELECT bucket, open, high, low, close, samples
      FROM candles_1h
     WHERE ticker = %(ticker)s
       AND bucket >= %(since)s::timestamptz
       AND bucket <= %(until)s::timestamptz
     ORDER BY bucket {order}
     LIMIT %(max_rows)s
  ) AS hour
 GROUP BY start
 ORDER BY start {order}
 LIMIT %(count)s
