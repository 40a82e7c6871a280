-- Lets pg_restore fill the tables of the extension itself.
SELECT timescaledb_pre_restore()
