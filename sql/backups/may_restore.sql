-- Whether this server lets us restore a dump, and which versions of TimescaleDB it could give it.
SELECT (SELECT rolsuper FROM pg_roles WHERE rolname = current_user) AS allowed,
       ARRAY(
           SELECT version
             FROM pg_available_extension_versions
            WHERE name = 'timescaledb'
            ORDER BY version) AS versions
