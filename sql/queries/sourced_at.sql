-- The price of one index for one minute and where it comes from: 0 or 1 row.
SELECT id, ticker, price, created_at, source, observed_at
  FROM prices
 WHERE ticker = %(ticker)s
   AND created_at = %(minute)s::timestamptz
