-- Which were the largest moves within five minutes of the last 30 days? Each price is compared with
-- the price exactly five minutes earlier, and omitted if that minute is missing. Moves less than a
-- day from a larger one in the list belong to the same event, and are omitted too.
WITH RECURSIVE move AS MATERIALIZED (
    SELECT created_at, before, price, price / before - 1 AS change
      FROM (
        SELECT created_at, price,
               first_value(price) OVER (
                   ORDER BY created_at
                   RANGE BETWEEN INTERVAL '5 min' PRECEDING AND INTERVAL '5 min' PRECEDING
               ) AS before
          FROM prices
         WHERE ticker = 'btc_usd'
           AND created_at >= now() - INTERVAL '30 days'
           AND created_at <= now()
      ) AS step
     WHERE before IS NOT NULL
), largest AS (
    SELECT ARRAY[]::timestamptz[] AS listed, NULL::timestamptz AS created_at,
           NULL::numeric AS before, NULL::numeric AS price, NULL::numeric AS change
     UNION ALL
    SELECT largest.listed || next.created_at, next.*
      FROM largest
     CROSS JOIN LATERAL (
        SELECT *
          FROM move
         WHERE NOT EXISTS (
            SELECT
              FROM unnest(largest.listed) AS at
             WHERE move.created_at > at - INTERVAL '24 hours'
               AND move.created_at < at + INTERVAL '24 hours')
         ORDER BY abs(move.change) DESC, move.created_at
         LIMIT 1
      ) AS next
     WHERE cardinality(largest.listed) < 5
)
SELECT created_at, before, price, round(100 * change, 3) AS percent
  FROM largest
 WHERE created_at IS NOT NULL
 ORDER BY cardinality(listed);
