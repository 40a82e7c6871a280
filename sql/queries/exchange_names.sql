-- The names of the exchange's indexes: those that it listed when they were last read, and those that it
-- once listed.
SELECT part, names
  FROM internal.heartbeats
 WHERE part IN ('listed', 'vanished')
