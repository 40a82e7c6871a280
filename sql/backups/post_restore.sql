-- Ends what timescaledb_pre_restore() began.
SELECT timescaledb_post_restore()
