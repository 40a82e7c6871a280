-- Which were the largest moves within five minutes of the last 30 days? Each price is compared with
-- the price exactly five minutes earlier, and omitted if that minute is missing.
SELECT created_at, before, price, round(100 * (price / before - 1), 3) AS percent
  FROM (
    SELECT created_at, price,
           first_value(price) OVER (
               ORDER BY created_at
               RANGE BETWEEN INTERVAL '5 min' PRECEDING AND INTERVAL '5 min' PRECEDING) AS before
      FROM prices
     WHERE ticker = 'btc_usd'
       AND created_at >= now() - INTERVAL '30 days'
       AND created_at <= now()
  ) AS step
 WHERE before IS NOT NULL
 ORDER BY abs(price / before - 1) DESC, created_at
 LIMIT 5;
