-- Why minutes of some stretches [since, until) of one index are missing: runs of records on end with one
-- reason, in the order of the stretches and newest first, at most count of them in each stretch.
-- A run is found by its newest record; it reaches back to the one after the next run's newest.
SELECT run.since, run.until, run.reason
  FROM unnest(%(sinces)s::timestamptz[], %(untils)s::timestamptz[])
       WITH ORDINALITY AS hole (since, until, place)
 CROSS JOIN LATERAL (
    SELECT lead(newer, 1, oldest.minute) OVER (ORDER BY newest.minute DESC) AS since,
           newest.minute + make_interval(mins => 1) AS until, reason
      FROM (
        SELECT minute, reason, lag(minute) OVER newest_first AS newer,
               lag(reason) OVER newest_first AS newer_reason
          FROM misses
         WHERE ticker = %(ticker)s
           AND minute >= hole.since
           AND minute < hole.until
        WINDOW newest_first AS (ORDER BY minute DESC)
      ) AS newest
     CROSS JOIN (
        SELECT min(minute) AS minute
          FROM misses
         WHERE ticker = %(ticker)s
           AND minute >= hole.since
           AND minute < hole.until
      ) AS oldest
     WHERE newer IS NULL
        OR newer > newest.minute + make_interval(mins => 1)
        OR newer_reason <> reason
     ORDER BY newest.minute DESC
     LIMIT %(count)s
  ) AS run
 ORDER BY hole.place, run.until DESC
