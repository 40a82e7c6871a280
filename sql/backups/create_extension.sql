-- Makes the extension as it was where the dump was made.
CREATE EXTENSION timescaledb VERSION {version}
