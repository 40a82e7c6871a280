-- Whether the session may restore a dump, and the versions of TimescaleDB that the server has.
SELECT (SELECT rolsuper FROM pg_roles WHERE rolname = current_user) AS is_superuser,
       ARRAY(
           SELECT version
             FROM pg_available_extension_versions
            WHERE name = 'timescaledb'
            ORDER BY version) AS versions
