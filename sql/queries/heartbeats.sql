-- How many seconds ago each part was last alive, by the server's clock; 0 or 1 row a part.
SELECT part, greatest(0, extract(EPOCH FROM clock_timestamp() - at))::float8 AS age
  FROM internal.heartbeats
 ORDER BY part
