-- Drops prices older than the midnight before the horizon, old chunks whole and else a day at a time: 1
-- row, with the midnight that was reached, and how many chunks and minutes were dropped.
SELECT reached, chunks, minutes
  FROM cut_prices(%(horizon)s::timestamptz)
