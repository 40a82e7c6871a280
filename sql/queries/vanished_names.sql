-- The names that the exchange does not list any more, if one vanished within max_age seconds by the
-- server's clock.
SELECT unnest(names) AS name
  FROM internal.heartbeats
 WHERE part = 'vanished'
   AND at > clock_timestamp() - make_interval(secs => %(max_age)s)
