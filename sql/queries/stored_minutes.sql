-- Which minutes of some hours of one index are stored, a row for each hour in the order asked: bit n
-- is minute n; no bit is set if there is none. The hours lie in [since, until].
SELECT hour.start, coalesce(stored.minutes, 0)
  FROM unnest(%(hours)s::timestamptz[]) WITH ORDINALITY AS hour (start, place)
 CROSS JOIN LATERAL (
    SELECT bit_or(1::bigint << (extract(EPOCH FROM created_at - hour.start)::integer / 60))
           AS minutes
      FROM prices
     WHERE ticker = %(ticker)s
       AND created_at >= %(since)s::timestamptz
       AND created_at <= %(until)s::timestamptz
       AND created_at >= hour.start
       AND created_at < hour.start + make_interval(hours => 1)
  ) AS stored
 ORDER BY hour.place
