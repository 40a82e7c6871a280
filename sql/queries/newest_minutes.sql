-- The newest minute in [since, until] of each index asked for, in the order asked; null if none.
SELECT asked.ticker, newest.created_at
  FROM unnest(%(tickers)s::text[]) WITH ORDINALITY AS asked (ticker, place)
  LEFT JOIN LATERAL (
    SELECT created_at
      FROM prices
     WHERE ticker = asked.ticker
       AND created_at >= %(since)s::timestamptz
       AND created_at <= %(until)s::timestamptz
     ORDER BY created_at DESC
     LIMIT 1
  ) AS newest ON true
 ORDER BY asked.place
