-- How far is one index from another of the same coin? The basis of btc_usdc over btc_usd hour by
-- hour over the last week, in basis points (0.01 per cent), of the minutes that both have.
SELECT date_trunc('hour', created_at, 'UTC') AS hour, round(avg(basis), 3) AS mean,
       round(min(basis), 3) AS lowest, round(max(basis), 3) AS highest, count(*) AS minutes
  FROM (
    SELECT usd.created_at, 10000 * (usdc.price / usd.price - 1) AS basis
      FROM prices AS usd
      JOIN prices AS usdc
        ON usdc.ticker = 'btc_usdc'
       AND usdc.created_at >= now() - INTERVAL '7 days'
       AND usdc.created_at <= now()
       AND usdc.created_at = usd.created_at
     WHERE usd.ticker = 'btc_usd'
       AND usd.created_at >= now() - INTERVAL '7 days'
       AND usd.created_at <= now()
  ) AS step
 GROUP BY hour
 ORDER BY hour;
