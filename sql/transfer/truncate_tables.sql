-- Empties the tables that triggers have filled, before they are loaded from the backup.
TRUNCATE {tables}
