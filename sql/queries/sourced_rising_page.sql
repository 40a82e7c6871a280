-- Prices of one index in [since, until] and where they come from, oldest first, at most count.
SELECT id, ticker, price, created_at, source, observed_at
  FROM prices
 WHERE ticker = %(ticker)s
   AND created_at >= %(since)s::timestamptz
   AND created_at <= %(until)s::timestamptz
 ORDER BY created_at
 LIMIT %(count)s
