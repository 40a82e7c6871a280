DELETE FROM internal.heartbeats WHERE part IN ('listed', 'vanished');

ALTER TABLE internal.heartbeats
    DROP COLUMN names,
    DROP CONSTRAINT heartbeats_part_check,
    ADD CONSTRAINT heartbeats_part_check CHECK (
        part IN ('scheduler', 'worker', 'exchange', 'backup'));

COMMENT ON COLUMN internal.heartbeats.part IS
    'scheduler, worker, exchange (its public/status responded) or backup (one was completed)';
