-- How large was the maximum drawdown, the fall below the highest earlier price, in the last 30
-- days?
SELECT created_at, peak, price, round(100 * (price / peak - 1), 3) AS percent
  FROM (
    SELECT created_at, price, max(price) OVER (ORDER BY created_at) AS peak
      FROM prices
     WHERE ticker = 'btc_usd'
       AND created_at >= now() - INTERVAL '30 days'
       AND created_at <= now()
  ) AS fall
 ORDER BY price / peak, created_at
 LIMIT 1;
