-- Drops a database if it exists, and ends its sessions.
DROP DATABASE IF EXISTS {database} WITH (FORCE)
