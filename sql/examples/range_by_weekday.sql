-- On which weekdays is the daily range widest? The difference of the highest and the lowest price
-- of each UTC day, in per cent of its first price, averaged over the last half year; 1 is Monday.
-- Today is not over, and therefore omitted.
SELECT extract(ISODOW FROM start AT TIME ZONE 'UTC')::integer AS weekday,
       round(avg(100 * (high - low) / open), 3) AS percent, count(*) AS days
  FROM candles(
      'btc_usd', '1 day', now() - INTERVAL '182 days', date_trunc('day', now(), 'UTC'))
 GROUP BY weekday
 ORDER BY weekday;
