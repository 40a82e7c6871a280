-- Stores every waiting line, prices with two decimals at least. Without ON CONFLICT, which would take
-- a third longer: whoever was faster with a minute makes this fail as a whole, to be done again.
INSERT INTO prices (ticker, price, created_at, observed_at, source)
SELECT ticker, CASE WHEN scale(price) < 2 THEN round(price, 2) ELSE price END, created_at,
       observed_at, coalesce(source, 'poll')
  FROM incoming
 ORDER BY ticker, created_at
