-- Records why a minute could not be polled, unless it has a price or a record.
INSERT INTO misses (ticker, minute, reason, code, attempts)
SELECT %(ticker)s::text, %(minute)s, %(reason)s, %(code)s, %(attempts)s
 WHERE NOT EXISTS (
    SELECT
      FROM prices
     WHERE ticker = %(ticker)s
       AND created_at = %(minute)s::timestamptz)
    ON CONFLICT (ticker, minute) DO NOTHING
