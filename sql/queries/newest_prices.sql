-- The newest price in [since, until] of each requested index that has one, with its source, in the
-- order of the request.
SELECT newest.id, requested.ticker, newest.price, newest.created_at, newest.source,
       newest.observed_at
  FROM unnest(%(tickers)s::text[]) WITH ORDINALITY AS requested (ticker, place)
 CROSS JOIN LATERAL (
    SELECT id, price, created_at, source, observed_at
      FROM prices
     WHERE ticker = requested.ticker
       AND created_at >= %(since)s::timestamptz
       AND created_at <= %(until)s::timestamptz
     ORDER BY created_at DESC
     LIMIT 1
  ) AS newest
 ORDER BY requested.place
