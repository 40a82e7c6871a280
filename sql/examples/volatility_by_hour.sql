-- At which UTC hours of the day does the price move most? The standard deviation of its returns of
-- complete 5 minutes over the last 30 days, in per cent, and the number of returns.
SELECT extract(HOUR FROM start AT TIME ZONE 'UTC')::integer AS hour,
       round(100 * stddev_samp(change), 4) AS volatility, count(*) AS returns
  FROM returns('btc_usd', '5 min', now() - INTERVAL '30 days', time_bucket('5 min', now()))
 GROUP BY hour
 ORDER BY hour;
