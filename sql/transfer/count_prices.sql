-- How many prices are in [since, until); of all indexes if none is given.
SELECT count(*)
  FROM prices
 WHERE (cardinality(%(tickers)s::text[]) = 0 OR ticker = ANY (%(tickers)s))
   AND created_at >= %(since)s::timestamptz
   AND created_at < %(until)s::timestamptz
