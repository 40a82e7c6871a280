"""TimescaleDB and Redis without Docker, and the whole tracker in one terminal."""
