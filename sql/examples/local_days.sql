-- What were the prices of each day in Berlin? The days of the last 30 that begin there, with 23 or
-- 25 hours where clocks change; the last one is not over.
SELECT (start AT TIME ZONE 'Europe/Berlin')::date AS day, open, high, low, close, samples
  FROM candles('btc_usd', '1 day', now() - INTERVAL '30 days', now(), 'Europe/Berlin')
 ORDER BY start;
