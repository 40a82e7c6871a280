-- Hours of one index in [since, until) that lack minutes, newest first, at most count of them: where an
-- hour with fewer than 60 minutes ended, or one that is followed by hours that have none; where
-- those end; and how many minutes the hour itself has. Before the oldest hour stands a whole one.
(
    SELECT bucket + make_interval(hours => 1) AS ended, newer AS until, samples
      FROM (
        SELECT bucket, samples,
               lag(bucket, 1, %(until)s::timestamptz) OVER (ORDER BY bucket DESC) AS newer
          FROM candles_1h
         WHERE ticker = %(ticker)s
           AND bucket >= %(since)s::timestamptz
           AND bucket < %(until)s::timestamptz
      ) AS hour
     WHERE samples < 60
        OR newer > bucket + make_interval(hours => 1)
     ORDER BY bucket DESC
     LIMIT %(count)s
)
 UNION ALL
SELECT %(since)s::timestamptz, oldest, 60
  FROM (
    SELECT coalesce(min(bucket), %(until)s::timestamptz) AS oldest
      FROM candles_1h
     WHERE ticker = %(ticker)s
       AND bucket >= %(since)s::timestamptz
       AND bucket < %(until)s::timestamptz
  ) AS hour
 WHERE oldest > %(since)s::timestamptz
 ORDER BY ended DESC
 LIMIT %(count)s
