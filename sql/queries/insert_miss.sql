-- Records why a minute could not be polled, unless it has a price or a record. A minute more than an
-- hour before the first one of an index with prices was not tracked. The clock that an unconfirmed
-- minute comes from may be wrong: it is recorded if no price is stored, or if it is within an hour
-- of the newest one, or after that within an hour of another miss of its index.
INSERT INTO misses (ticker, minute, reason, code, attempts)
SELECT %(ticker)s::text, %(minute)s, %(reason)s, %(code)s, %(attempts)s
 WHERE NOT EXISTS (
    SELECT
      FROM prices
     WHERE ticker = %(ticker)s
       AND created_at = %(minute)s::timestamptz)
   AND NOT EXISTS (
    SELECT
      FROM tickers
     WHERE ticker = %(ticker)s
       AND revision > 0
       AND since > %(minute)s::timestamptz + make_interval(hours => 1))
   AND (
    %(confirmed)s::boolean
    OR EXISTS (
        SELECT
          FROM (SELECT max(until) FROM internal.price_islands) AS stored (newest)
         WHERE newest IS NULL
            OR (
                %(minute)s::timestamptz >= newest - make_interval(hours => 1)
                AND (
                    %(minute)s::timestamptz <= newest + make_interval(hours => 1)
                    OR EXISTS (
                        SELECT
                          FROM misses
                         WHERE ticker = %(ticker)s
                           AND minute >= %(minute)s::timestamptz - make_interval(hours => 1)
                           AND minute < %(minute)s::timestamptz)))))
    ON CONFLICT (ticker, minute) DO NOTHING
