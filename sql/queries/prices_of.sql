-- Prices of the given minutes, each of an index, which are in [since, until], with their sources.
SELECT price.id, price.ticker, price.price, price.created_at, price.source, price.observed_at
  FROM unnest(%(tickers)s::text[], %(minutes)s::timestamptz[]) AS wanted (ticker, minute)
 CROSS JOIN LATERAL (
    SELECT id, ticker, price, created_at, source, observed_at
      FROM prices
     WHERE ticker = wanted.ticker
       AND created_at = wanted.minute
       AND created_at >= %(since)s::timestamptz
       AND created_at <= %(until)s::timestamptz
  ) AS price
