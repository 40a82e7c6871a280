-- Stores every remaining line, with at least two decimals. ON CONFLICT would take a third longer: if
-- another transaction stores one of these minutes, all of it fails and is repeated.
INSERT INTO prices (ticker, price, created_at, observed_at, source)
SELECT ticker, CASE WHEN scale(price) < 2 THEN round(price, 2) ELSE price END, created_at,
       observed_at, coalesce(source, 'import')
  FROM incoming
 ORDER BY ticker, created_at
