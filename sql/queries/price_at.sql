-- The price of one index for one minute: 0 or 1 row.
SELECT id, ticker, price, created_at
  FROM prices
 WHERE ticker = %(ticker)s
   AND created_at = %(minute)s::timestamptz
