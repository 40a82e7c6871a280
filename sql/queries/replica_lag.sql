-- How many seconds this server is behind the one that it follows, at most: one row. 0 if it follows
-- none, or is connected and has replayed all that it received; else the age of the last commit that
-- it replayed, which is null if there was none since its start.
SELECT CASE
           WHEN NOT pg_is_in_recovery() THEN 0
           WHEN pg_last_wal_receive_lsn() <= pg_last_wal_replay_lsn()
                AND EXISTS (SELECT FROM pg_stat_wal_receiver) THEN 0
           ELSE greatest(
               0, extract(epoch FROM clock_timestamp() - pg_last_xact_replay_timestamp()))
       END::float8 AS seconds
