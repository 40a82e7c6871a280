-- Who else uses a database, by name, and how many of them there are.
SELECT coalesce(nullif(application_name, ''), usename), count(*)
  FROM pg_stat_activity
 WHERE datname = %(database)s
   AND backend_type = 'client backend'
   AND pid <> pg_backend_pid()
 GROUP BY 1
 ORDER BY 1
