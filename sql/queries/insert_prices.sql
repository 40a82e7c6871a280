-- Stores prices of many indexes and minutes, each minute once, and returns the keys of new ones.
-- Keys are unique, and first and last bound the minutes. A price replaces one with the source
-- replaces; null: none. The anti-join keeps identity values from being used up; the primary key
-- decides races. All writers lock in one order, and wait at most lock_timeout for a lock (0:
-- unlimited). Never prepared, because a generic plan would search every chunk for each row.
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
