-- Calls start_background_workers() or stop_background_workers() of the extension, if the database
-- has it: its own sessions would keep the database from being renamed.
DO $$
BEGIN
    IF EXISTS (SELECT FROM pg_extension WHERE extname = 'timescaledb') THEN
        PERFORM _timescaledb_functions.{function}();
    END IF;
END
$$
