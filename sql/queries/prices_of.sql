-- Prices of one index for the given minutes, which are in [since, until], with their sources,
-- ascending.
SELECT id, ticker, price, created_at, source, observed_at
  FROM prices
 WHERE ticker = %(ticker)s
   AND created_at >= %(since)s::timestamptz
   AND created_at <= %(until)s::timestamptz
   AND created_at = ANY (%(minutes)s::timestamptz[])
 ORDER BY created_at
