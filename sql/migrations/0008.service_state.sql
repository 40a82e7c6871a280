-- What web cannot see by itself: which indexes the exchange has locked, and when the last backup was
-- completed.
-- depends: 0007.analysts

ALTER TABLE internal.heartbeats
    DROP CONSTRAINT heartbeats_part_check,
    ADD CONSTRAINT heartbeats_part_check CHECK (
        part IN ('scheduler', 'worker', 'exchange', 'backup')),
    ADD COLUMN locked text[] NOT NULL DEFAULT '{}';

COMMENT ON TABLE internal.heartbeats IS
    'The newest heartbeat of each component of the recorder, and the last backup';
COMMENT ON COLUMN internal.heartbeats.part IS
    'scheduler, worker, exchange (its public/status responded) or backup (one was completed)';
COMMENT ON COLUMN internal.heartbeats.locked IS 'The indexes that the exchange reported as locked';
