-- Drops prices older than the retention, whole chunks at once and of the remaining chunk a day: 1 row
-- with the horizon, the midnight reached, and how many chunks and minutes were dropped.
SELECT horizon, reached, chunks, minutes
  FROM internal.drop_prices(%(retention)s::interval)
