-- What one index lacks in [since, until): stretches of minutes without a price, newest first, each with
-- the runs of records inside it that give another reason than unknown, newest first, a row for
-- each; an empty run if there is none. At most count rows. Runs are looked for from the one on that
-- begins at or before a stretch: it may reach into it. Below the oldest run of prices that is
-- needed stands an empty one, so that what is missing before the first price is a stretch too.
SELECT hole.since, hole.until, coalesce(record.since, hole.since) AS recorded_since,
       coalesce(record.until, hole.since) AS recorded_until,
       coalesce(record.reason, %(unknown)s) AS reason
  FROM (
    SELECT greatest(run.until, %(since)s::timestamptz) AS since,
           lag(run.since, 1, %(until)s::timestamptz) OVER newest_first AS until,
           run.since AS place
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
      ) AS run
    WINDOW newest_first AS (ORDER BY run.since DESC NULLS LAST)
  ) AS hole
  LEFT JOIN LATERAL (
    SELECT greatest(run.since, hole.since) AS since, least(run.until, hole.until) AS until, reason
      FROM internal.miss_islands AS run
     WHERE ticker = %(ticker)s
       AND run.since < hole.until
       AND run.until > hole.since
       AND run.since >= coalesce(
           (SELECT max(older.since)
              FROM internal.miss_islands AS older
             WHERE older.ticker = %(ticker)s
               AND older.since <= hole.since),
           hole.since)
       AND reason <> %(unknown)s
     ORDER BY run.since DESC
     LIMIT %(count)s
  ) AS record
    ON true
 WHERE hole.since < hole.until
 ORDER BY hole.place DESC NULLS LAST, record.since DESC
 LIMIT %(count)s
