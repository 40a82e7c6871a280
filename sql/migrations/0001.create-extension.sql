-- Hypertables come from this extension; images of TimescaleDB have made it already.
CREATE EXTENSION IF NOT EXISTS timescaledb;
