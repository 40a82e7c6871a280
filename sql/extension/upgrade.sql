-- Updates the extension. It must be the first statement of its session.
ALTER EXTENSION timescaledb UPDATE
