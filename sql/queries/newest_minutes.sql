-- The newest minute in [since, until] of each requested index, in their order; null if it has none.
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
