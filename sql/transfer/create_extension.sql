-- Creates the extension in the version of the dump.
CREATE EXTENSION timescaledb VERSION {version}
