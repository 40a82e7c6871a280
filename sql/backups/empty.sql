-- Forgets what triggers have made, to take it from the backup instead.
TRUNCATE {tables}
