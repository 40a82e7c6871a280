-- Deletes the lines whose minute has a price, and counts them for each index.
WITH stored AS (
    DELETE FROM incoming
     USING prices
     WHERE prices.ticker = incoming.ticker AND prices.created_at = incoming.created_at
    RETURNING incoming.ticker
)
SELECT ticker, count(*)
  FROM stored
 GROUP BY ticker
