-- How closely do two indexes move together? The correlation of their returns of complete hours over
-- the last 90 days: 1 is perfectly positive, 0 is none, -1 is perfectly negative.
SELECT round(corr(btc.change, eth.change)::numeric, 4) AS correlation, count(*) AS hours
  FROM returns(
      'btc_usd', '1 hour', now() - INTERVAL '90 days', date_trunc('hour', now(), 'UTC')) AS btc
  JOIN returns(
      'eth_usd', '1 hour', now() - INTERVAL '90 days', date_trunc('hour', now(), 'UTC')) AS eth
 USING (start);
