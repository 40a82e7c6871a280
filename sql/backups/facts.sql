-- What is backed up, one row: a snapshot for others to share, PostgreSQL's major version, and
-- TimescaleDB's version.
SELECT pg_export_snapshot() AS snapshot,
       current_setting('server_version_num')::integer / 10000 AS postgresql,
       (SELECT extversion FROM pg_extension WHERE extname = 'timescaledb') AS timescaledb
