-- Lets the extension's own tables be filled from a dump.
SELECT timescaledb_pre_restore()
