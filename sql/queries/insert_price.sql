-- Stores the price of one index and minute, once: 1 row if it is new, none if the minute has one.
-- It takes the place of a price whose source is named in replaces; null: of none. The look before
-- the insert keeps identity values from being burnt; the key decides a race.
INSERT INTO prices AS stored (ticker, price, created_at, observed_at, source)
SELECT %(ticker)s::text, %(price)s, %(minute)s, %(observed_at)s, %(source)s
 WHERE NOT EXISTS (
    SELECT
      FROM prices
     WHERE ticker = %(ticker)s
       AND created_at = %(minute)s::timestamptz
       AND source IS DISTINCT FROM %(replaces)s::text)
    ON CONFLICT (ticker, created_at) DO UPDATE
   SET price = excluded.price, observed_at = excluded.observed_at, source = excluded.source
 WHERE stored.source = %(replaces)s::text
