-- Numbers of polled, charted and imported minutes of one index in [since, until]: 1 row.
SELECT count(created_at) FILTER (WHERE source = 'poll') AS polled,
       count(created_at) FILTER (WHERE source = 'chart') AS chart,
       count(created_at) FILTER (WHERE source = 'import') AS import
  FROM prices
 WHERE ticker = %(ticker)s
   AND created_at >= %(since)s::timestamptz
   AND created_at <= %(until)s::timestamptz
