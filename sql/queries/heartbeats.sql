-- Age of each component's newest heartbeat in seconds, by the server's clock: 0 or 1 row each. A
-- heartbeat in the future, from a clock that has been set back since, is ignored.
SELECT part, extract(EPOCH FROM clock_timestamp() - at)::float8 AS age
  FROM internal.heartbeats
 WHERE at <= clock_timestamp()
 ORDER BY part
