-- For how many seconds the price of each requested index has been equal up to its newest minute in
-- [since, until], in the order of the request; null without a price.
SELECT requested.ticker,
       extract(EPOCH FROM newest.created_at - equal.created_at)::float8 AS seconds
  FROM unnest(%(tickers)s::text[]) WITH ORDINALITY AS requested (ticker, place)
  LEFT JOIN LATERAL (
    SELECT created_at, price
      FROM prices
     WHERE ticker = requested.ticker
       AND created_at >= %(since)s::timestamptz
       AND created_at <= %(until)s::timestamptz
     ORDER BY created_at DESC
     LIMIT 1
  ) AS newest ON true
  LEFT JOIN LATERAL (
    SELECT created_at
      FROM prices
     WHERE ticker = requested.ticker
       AND created_at >= %(since)s::timestamptz
       AND created_at <= %(until)s::timestamptz
       AND price <> newest.price
     ORDER BY created_at DESC
     LIMIT 1
  ) AS other ON true
  LEFT JOIN LATERAL (
    SELECT created_at
      FROM prices
     WHERE ticker = requested.ticker
       AND created_at >= %(since)s::timestamptz
       AND created_at <= %(until)s::timestamptz
       AND created_at > coalesce(other.created_at, '-infinity')
     ORDER BY created_at
     LIMIT 1
  ) AS equal ON true
 ORDER BY requested.place
