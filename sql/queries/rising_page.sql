-- Prices of one index in [since, until], oldest first, at most count of them.
SELECT id, ticker, price, created_at
  FROM prices
 WHERE ticker = %(ticker)s
   AND created_at >= %(since)s::timestamptz
   AND created_at <= %(until)s::timestamptz
 ORDER BY created_at
 LIMIT %(count)s
