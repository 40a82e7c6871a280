-- How large was the maximum drawdown, the fall below the highest earlier price, in the last 30
-- days? From the last minute of the peak to the lowest price after it.
SELECT peak.created_at AS peak_at, peak.price AS peak, lowest.created_at, lowest.price,
       round(100 * (lowest.price / peak.price - 1), 3) AS percent
  FROM (
    SELECT created_at, price
      FROM (
        SELECT created_at, price, max(price) OVER (ORDER BY created_at) AS peak
          FROM prices
         WHERE ticker = 'btc_usd'
           AND created_at >= now() - INTERVAL '30 days'
           AND created_at <= now()
      ) AS fall
     ORDER BY price / peak, created_at
     LIMIT 1
  ) AS lowest
 CROSS JOIN LATERAL (
    SELECT created_at, price
      FROM prices
     WHERE ticker = 'btc_usd'
       AND created_at >= now() - INTERVAL '30 days'
       AND created_at <= now()
       AND created_at <= lowest.created_at
     ORDER BY price DESC, created_at DESC
     LIMIT 1
  ) AS peak;
