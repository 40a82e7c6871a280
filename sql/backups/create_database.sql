-- Makes a database with nothing in it, not even what this server puts into each.
CREATE DATABASE {database} TEMPLATE template0
