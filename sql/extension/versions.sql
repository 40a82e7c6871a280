-- TimescaleDB's version in this database, and the one that the server's files are of.
SELECT installed_version, default_version
  FROM pg_available_extensions
 WHERE name = 'timescaledb'
   AND installed_version IS NOT NULL
