-- Drops a database, if there is one.
DROP DATABASE IF EXISTS {database} WITH (FORCE)
