-- Drops prices older than the retention: whole chunks, and at most one day of the oldest remaining
-- chunk. 1 row: the horizon, the midnight reached, and the numbers of dropped chunks and minutes.
SELECT horizon, reached, chunks, minutes
  FROM internal.drop_prices(%(retention)s::interval)
