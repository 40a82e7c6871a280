-- The installed version of TimescaleDB, and the version of the server's files.
SELECT installed_version, default_version
  FROM pg_available_extensions
 WHERE name = 'timescaledb'
   AND installed_version IS NOT NULL
