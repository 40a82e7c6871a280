-- When each part of the recorder last gave a sign of life: the API knows the database only, and
-- tells from this who is silent. A plain table with a row for each part.
-- depends: 0007.create-changes
CREATE TABLE heartbeats (
    part text        PRIMARY KEY CHECK (part IN ('scheduler', 'worker')),
    at   timestamptz NOT NULL
);

COMMENT ON TABLE heartbeats IS 'When each part of the recorder last gave a sign of life';
COMMENT ON COLUMN heartbeats.part IS 'scheduler or worker';
COMMENT ON COLUMN heartbeats.at IS 'When it sent the newest tick, or last said that it runs';
