-- Every table in which a user's rows may be, by schema and name, those of public first. Heartbeats come with the first
-- minute, and are nobody's loss; nor are yoyo's own records.
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
