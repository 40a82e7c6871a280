-- The names of the indexes that the exchange listed when they were last read.
SELECT unnest(names) AS name
  FROM internal.heartbeats
 WHERE part = 'listed'
