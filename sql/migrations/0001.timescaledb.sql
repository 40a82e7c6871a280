-- The extension, a schema for the machinery behind the tables that analysts read, and the type of
-- index names. Images of TimescaleDB have created the extension already.
CREATE EXTENSION IF NOT EXISTS timescaledb;

CREATE SCHEMA internal;

COMMENT ON SCHEMA internal IS 'Change log, islands, heartbeats and trigger functions of the tracker';

CREATE DOMAIN index_name AS text CHECK (VALUE ~ '^[a-z0-9-]+_[a-z0-9]+$');

COMMENT ON DOMAIN index_name IS 'A name of one of Deribit''s indexes, such as btc_usd';
