-- Facts for the manifest, 1 row: an exported snapshot, the major version of PostgreSQL, the version
-- of TimescaleDB, the migrations, the roles with privileges, and those of the given tables that
-- exist.
SELECT pg_export_snapshot() AS snapshot,
       current_setting('server_version_num')::integer / 10000 AS postgresql,
       (SELECT extversion FROM pg_extension WHERE extname = 'timescaledb') AS timescaledb,
       ARRAY(
           SELECT migration_id::text
             FROM _yoyo_migration
            ORDER BY migration_id) AS migrations,
       ARRAY(
           SELECT DISTINCT rolname::text COLLATE "C"
             FROM pg_shdepend
             JOIN pg_roles
               ON pg_roles.oid = refobjid
            WHERE refclassid = 'pg_authid'::regclass
              AND deptype = 'a'
              AND dbid = (SELECT oid FROM pg_database WHERE datname = current_database())
            ORDER BY 1) AS roles,
       ARRAY(
           SELECT given.name
             FROM unnest(%(tables)s::text[]) WITH ORDINALITY AS given (name, position)
            WHERE to_regclass(given.name) IS NOT NULL
            ORDER BY given.position) AS tables
