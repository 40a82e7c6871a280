-- Lets pg_restore fill the extension's own tables.
SELECT timescaledb_pre_restore()
