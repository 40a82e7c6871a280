-- Gaps of one index in [since, until), newest first: consecutive minutes without a price, joined
-- with the islands of recorded misses in the gap, newest first; a gap without any has one row with
-- an empty island. Misses with the reason unknown are no record. At most count rows. Miss islands
-- are read from the last one that begins at or before the gap, because it may reach into the gap.
-- An empty island before the oldest price island that is read makes the minutes before the first
-- price a gap.
SELECT gap.since, gap.until, coalesce(record.since, gap.since) AS recorded_since,
       coalesce(record.until, gap.since) AS recorded_until,
       coalesce(record.reason, %(unknown)s) AS reason
  FROM (
    SELECT greatest(island.until, %(since)s::timestamptz) AS since,
           lag(island.since, 1, %(until)s::timestamptz) OVER newest_first AS until,
           island.since AS place
      FROM (
        (
            SELECT since, until
              FROM internal.price_islands
             WHERE ticker = %(ticker)s
               AND since < %(until)s::timestamptz
               AND since >= coalesce(
                   (SELECT max(since)
                      FROM internal.price_islands
                     WHERE ticker = %(ticker)s
                       AND since <= %(since)s::timestamptz),
                   %(since)s::timestamptz)
             ORDER BY since DESC
             LIMIT %(count)s + 1
        )
         UNION ALL
        SELECT NULL, %(since)s::timestamptz
      ) AS island
    WINDOW newest_first AS (ORDER BY island.since DESC NULLS LAST)
  ) AS gap
  LEFT JOIN LATERAL (
    SELECT greatest(island.since, gap.since) AS since, least(island.until, gap.until) AS until,
           reason
      FROM internal.miss_islands AS island
     WHERE ticker = %(ticker)s
       AND island.since < gap.until
       AND island.until > gap.since
       AND island.since >= coalesce(
           (SELECT max(older.since)
              FROM internal.miss_islands AS older
             WHERE older.ticker = %(ticker)s
               AND older.since <= gap.since),
           gap.since)
       AND reason <> %(unknown)s
     ORDER BY island.since DESC
     LIMIT %(count)s
  ) AS record
    ON true
 WHERE gap.since < gap.until
 ORDER BY gap.place DESC NULLS LAST, record.since DESC
 LIMIT %(count)s
