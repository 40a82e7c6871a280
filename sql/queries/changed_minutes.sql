-- Minutes of one index that changed after a position, which is a revision and a place in that
-- revision's list of minutes: each minute once, at its newest change, in order, at most count. A
-- change that is logged as a range has no place. Every row has the newest revision, and whether the
-- log is whole: no revision after the position is missing, and at most max_minutes minutes changed. If it
-- is not whole, or nothing changed, the only row has no revision.
WITH logged AS (
    SELECT revision, first_minute, last_minute, minutes
      FROM internal.changes
     WHERE ticker = %(ticker)s
       AND revision > %(revision)s::bigint
), state AS (
    SELECT known.revision AS newest,
           count(logged.revision) = known.revision - %(revision)s::bigint
           AND (%(place)s::bigint = 0 OR known.revision > %(revision)s::bigint)
           AND coalesce(sum(cardinality(logged.minutes)), 0) <= %(max_minutes)s AS whole
      FROM tickers AS known
      LEFT JOIN logged ON true
     WHERE known.ticker = %(ticker)s
     GROUP BY known.revision
)
SELECT state.newest, state.whole,
       step.revision, step.place, step.final, step.first_minute, step.last_minute
  FROM state
  LEFT JOIN LATERAL (
    SELECT revision, place, final, first_minute, last_minute
      FROM (
        SELECT DISTINCT ON (listed.minute)
               logged.revision, listed.place, listed.place = cardinality(logged.minutes) AS final,
               listed.minute AS first_minute, listed.minute AS last_minute
          FROM logged
         CROSS JOIN unnest(logged.minutes) WITH ORDINALITY AS listed (minute, place)
         ORDER BY listed.minute, logged.revision DESC
      ) AS touched
     WHERE state.whole
       AND (revision > %(revision)s::bigint + 1 OR place > %(place)s::bigint)
     UNION ALL
    SELECT revision, NULL, true, first_minute, last_minute
      FROM logged
     WHERE state.whole
       AND minutes IS NULL
     ORDER BY revision, place
     LIMIT %(count)s
  ) AS step ON true
 ORDER BY step.revision, step.place
