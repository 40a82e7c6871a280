-- Ends the mode that timescaledb_pre_restore() began.
SELECT timescaledb_post_restore()
