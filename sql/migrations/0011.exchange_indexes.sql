-- Which indexes the exchange has, for patterns in TICKERS: web selects from the names that the worker
-- has read, and they serve while the exchange is unavailable.
-- depends: 0010.filled

ALTER TABLE internal.heartbeats
    DROP CONSTRAINT heartbeats_part_check,
    ADD CONSTRAINT heartbeats_part_check CHECK (
        part IN ('scheduler', 'worker', 'exchange', 'backup', 'listed', 'vanished')),
    ADD COLUMN names text[] NOT NULL DEFAULT '{}';

COMMENT ON COLUMN internal.heartbeats.part IS
    'scheduler, worker, exchange (its public/status responded), backup (one was completed), listed (the names of the exchange''s indexes were read) or vanished (one of them was not listed any more)';
COMMENT ON COLUMN internal.heartbeats.names IS 'The indexes that are listed, or that vanished';
