-- The extension stays, because other schemas of the database may use it.
DROP DOMAIN index_name;

DROP SCHEMA internal;
