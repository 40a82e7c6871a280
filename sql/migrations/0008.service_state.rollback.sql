DROP FUNCTION internal.discard_misses(timestamptz);

DELETE FROM internal.heartbeats WHERE part NOT IN ('scheduler', 'worker');

ALTER TABLE internal.heartbeats
    DROP COLUMN locked,
    DROP CONSTRAINT heartbeats_part_check,
    ADD CONSTRAINT heartbeats_part_check CHECK (part IN ('scheduler', 'worker'));

COMMENT ON TABLE internal.heartbeats IS 'The newest heartbeat of each component of the recorder';
COMMENT ON COLUMN internal.heartbeats.part IS 'scheduler or worker';
