-- Brings the extension up to date; it must be the first statement of its session.
ALTER EXTENSION timescaledb UPDATE
