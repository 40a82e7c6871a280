-- The extension, a schema for internal objects, and the type of index names. TimescaleDB's images
-- create the extension themselves.
CREATE EXTENSION IF NOT EXISTS timescaledb;

CREATE SCHEMA internal;

COMMENT ON SCHEMA internal IS 'Change log, islands, heartbeats and trigger functions of the tracker';

CREATE DOMAIN index_name AS text CHECK (VALUE ~ '^[a-z0-9-]+_[a-z0-9]+$');

COMMENT ON DOMAIN index_name IS 'The name of an index of Deribit, such as btc_usd';
