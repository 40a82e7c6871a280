-- The given database, if there is one.
SELECT datname
  FROM pg_database
 WHERE datname = %(database)s
