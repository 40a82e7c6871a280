-- A price for each of the names and each of the last minutes up to the present one, index after index.
INSERT INTO prices (ticker, price, created_at, observed_at, source)
SELECT ticker,
       round((30000 + hashtext(ticker) %% 100 + 3000 * sin(number / 700.0)
              + hashint4(number) %% 1000 / 50.0)::numeric, 2),
       date_trunc('minute', now(), 'UTC') - make_interval(mins => number),
       date_trunc('minute', now(), 'UTC') - make_interval(mins => number, secs => -1),
       'poll'
  FROM unnest(%(names)s::text[]) AS ticker
 CROSS JOIN generate_series(%(minutes)s::integer - 1, 0, -1) AS number
