-- How many minutes of one index in [since, until] are polled, and how many come from charts: 1 row.
SELECT count(created_at) FILTER (WHERE source <> %(chart)s) AS polled,
       count(created_at) FILTER (WHERE source = %(chart)s) AS chart
  FROM prices
 WHERE ticker = %(ticker)s
   AND created_at >= %(since)s::timestamptz
   AND created_at <= %(until)s::timestamptz
