-- The indexes that the exchange reported as locked within max_age seconds by the server's clock, by
-- name.
SELECT DISTINCT unnest(locked) AS ticker
  FROM internal.heartbeats
 WHERE part = 'exchange'
   AND at <= clock_timestamp()
   AND at > clock_timestamp() - make_interval(secs => %(max_age)s)
 ORDER BY ticker
