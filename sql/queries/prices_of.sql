-- Prices of one index for some minutes, which lie in [since, until], and where they come from.
SELECT id, ticker, price, created_at, source, observed_at
  FROM prices
 WHERE ticker = %(ticker)s
   AND created_at >= %(since)s::timestamptz
   AND created_at <= %(until)s::timestamptz
   AND created_at = ANY (%(minutes)s::timestamptz[])
 ORDER BY created_at
