-- Drops the lines whose minute has a price already.
DELETE FROM incoming
 USING prices
 WHERE prices.ticker = incoming.ticker AND prices.created_at = incoming.created_at
