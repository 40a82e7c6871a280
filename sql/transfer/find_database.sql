-- The given database, if it exists.
SELECT datname
  FROM pg_database
 WHERE datname = %(database)s
