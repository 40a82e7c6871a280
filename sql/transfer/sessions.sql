-- Other clients of a database by application name, or else by role, and the number of each.
SELECT coalesce(nullif(application_name, ''), usename), count(*)
  FROM pg_stat_activity
 WHERE datname = %(database)s
   AND backend_type = 'client backend'
   AND pid <> pg_backend_pid()
 GROUP BY 1
 ORDER BY 1
