-- Creates an empty database, without the extensions that this server's template1 may have.
CREATE DATABASE {database} TEMPLATE template0
