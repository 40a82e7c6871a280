-- Candles of one index, each width wide from midnight UTC on, from its minutes in [since, until],
-- in the given direction: at most count. At most max_rows minutes are read: count times those of a
-- width.
SELECT time_bucket(%(width)s::interval, created_at) AS start,
       first(price, created_at) AS open, max(price) AS high, min(price) AS low,
       last(price, created_at) AS close, count(created_at) AS samples
  FROM (
    SELECT created_at, price
      FROM prices
     WHERE ticker = %(ticker)s
       AND created_at >= %(since)s::timestamptz
       AND created_at <= %(until)s::timestamptz
     ORDER BY created_at {order}
     LIMIT %(max_rows)s
  ) AS minute
 GROUP BY start
 ORDER BY start {order}
 LIMIT %(count)s
