-- Ends the extension's own sessions, which would keep a database from being renamed.
DO $$
BEGIN
    IF EXISTS (SELECT FROM pg_extension WHERE extname = 'timescaledb') THEN
        PERFORM _timescaledb_functions.stop_background_workers();
    END IF;
END
$$
