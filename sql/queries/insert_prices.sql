-- Stores prices of many indexes and minutes, each minute once, and returns the keys of the new ones.
-- No key comes twice, and first and last bound the minutes. A price replaces one whose source is
-- replaces; null: none. The anti-join keeps identity values from being burnt; the key decides a
-- race. All writers lock in one order, and wait at most lock_timeout for a lock (0: unlimited).
-- Never prepared: a generic plan would look for each row in every chunk.
INSERT INTO prices AS stored (ticker, price, created_at, observed_at, source)
SELECT new.ticker, new.price, new.minute, new.observed_at, %(source)s
  FROM set_config('lock_timeout', %(lock_timeout)s, true)
 CROSS JOIN unnest(
    %(tickers)s::text[], %(prices)s::numeric[], %(minutes)s::timestamptz[],
    %(observed)s::timestamptz[]
  ) AS new (ticker, price, minute, observed_at)
 WHERE NOT EXISTS (
    SELECT
      FROM prices
     WHERE ticker = new.ticker
       AND created_at = new.minute
       AND created_at >= %(first)s::timestamptz
       AND created_at <= %(last)s::timestamptz
       AND source IS DISTINCT FROM %(replaces)s::text)
 ORDER BY new.ticker, new.minute
    ON CONFLICT (ticker, created_at) DO UPDATE
   SET price = excluded.price, observed_at = excluded.observed_at, source = excluded.source
 WHERE stored.source = %(replaces)s::text
RETURNING ticker, created_at
