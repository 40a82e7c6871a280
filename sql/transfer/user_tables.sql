-- Every table that may hold rows of a user, by schema and name, those of public first. Heartbeats and
-- yoyo's records exist from the first minute and are no loss.
SELECT nspname, relname
  FROM pg_class
  JOIN pg_namespace
    ON pg_namespace.oid = relnamespace
 WHERE relkind IN ('r', 'p', 'm')
   AND nspname NOT IN ('pg_catalog', 'information_schema')
   AND nspname !~ '^(pg_|_?timescaledb_)'
   AND relname !~ 'yoyo'
   AND relname <> 'heartbeats'
 ORDER BY nspname <> 'public', nspname, relname
