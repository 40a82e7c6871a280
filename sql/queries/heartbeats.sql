-- How many seconds ago each part was last alive, by the server's clock. A heartbeat from the future, of
-- a clock that has been set back since, says nothing: 0 or 1 row a part.
SELECT part, extract(EPOCH FROM clock_timestamp() - at)::float8 AS age
  FROM internal.heartbeats
 WHERE at <= clock_timestamp()
 ORDER BY part
