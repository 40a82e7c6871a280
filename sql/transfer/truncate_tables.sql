-- Empties the tables that triggers have filled, to load them from the backup.
TRUNCATE {tables}
