-- Lets roles see which migrations are applied.
GRANT SELECT
   ON _yoyo_migration
   TO {roles}
