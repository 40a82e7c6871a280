-- How many prices an export will have. The window is [since, until); no index: all.
SELECT count(*)
  FROM prices
 WHERE (cardinality(%(tickers)s::text[]) = 0 OR ticker = ANY (%(tickers)s))
   AND created_at >= %(since)s::timestamptz
   AND created_at < %(until)s::timestamptz
