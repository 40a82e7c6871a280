-- The newest minute of each requested index in [since, until], in the order of the request; null
-- without a price.
SELECT requested.ticker, newest.created_at
  FROM unnest(%(tickers)s::text[]) WITH ORDINALITY AS requested (ticker, place)
  LEFT JOIN LATERAL (
    SELECT created_at
      FROM prices
     WHERE ticker = requested.ticker
       AND created_at >= %(since)s::timestamptz
       AND created_at <= %(until)s::timestamptz
     ORDER BY created_at DESC
     LIMIT 1
  ) AS newest ON true
 ORDER BY requested.place
