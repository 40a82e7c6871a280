-- Deletes the lines whose minute has a price. Counts them for each index, and those of them that
-- have another price.
WITH stored AS (
    DELETE FROM incoming
     USING prices
     WHERE prices.ticker = incoming.ticker AND prices.created_at = incoming.created_at
    RETURNING incoming.ticker, prices.price <> incoming.price AS differs
)
SELECT ticker, count(*), count(*) FILTER (WHERE differs)
  FROM stored
 GROUP BY ticker
