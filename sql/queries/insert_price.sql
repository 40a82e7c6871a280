-- Stores the price of one index and minute, once: 1 row if it is new, none if the minute has one.
-- The look before the insert keeps identity values from being burnt; the key decides a race.
INSERT INTO prices (ticker, price, created_at, observed_at, source)
SELECT %(ticker)s, %(price)s, %(minute)s, %(observed_at)s, %(source)s
 WHERE NOT EXISTS (
    SELECT
      FROM prices
     WHERE ticker = %(ticker)s
       AND created_at = %(minute)s::timestamptz)
    ON CONFLICT DO NOTHING
