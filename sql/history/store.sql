-- Stores every waiting line. Without ON CONFLICT, which would take a third longer: whoever was
-- faster with a minute makes this fail as a whole, to be done again.
INSERT INTO prices (ticker, price, created_at, observed_at, source)
SELECT ticker, price, created_at, observed_at, coalesce(source, 'poll')
  FROM incoming
 ORDER BY ticker, created_at
