-- The rows of insert_prices.sql into bare_prices.
INSERT INTO bare_prices (ticker, price, created_at, observed_at, source)
SELECT ticker, price, minute, observed_at, %(source)s
  FROM unnest(
    %(tickers)s::text[], %(prices)s::numeric[], %(minutes)s::timestamptz[],
    %(observed)s::timestamptz[]
  ) AS new (ticker, price, minute, observed_at)
