-- Maximum lag of this server behind its primary in seconds: 1 row. It is 0 for a primary, and for a
-- connected replica that has replayed everything it received; otherwise it is the age of the last
-- replayed commit, or null if none was replayed since the start.
SELECT CASE
           WHEN NOT pg_is_in_recovery() THEN 0
           WHEN pg_last_wal_receive_lsn() <= pg_last_wal_replay_lsn()
                AND EXISTS (SELECT FROM pg_stat_wal_receiver) THEN 0
           ELSE greatest(
               0, extract(epoch FROM clock_timestamp() - pg_last_xact_replay_timestamp()))
       END::float8 AS seconds
