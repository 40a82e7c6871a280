-- Creates an empty database, without extensions that this server's template1 may have.
CREATE DATABASE {database} TEMPLATE template0
