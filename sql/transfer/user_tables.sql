-- Tables that may hold rows of a user, by schema and name, those of public first. Heartbeats and
-- yoyo's tables always have rows, and their loss does no harm.
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
