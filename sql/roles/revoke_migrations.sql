-- Revokes the last privilege of roles on a database without the schema, because only a role without
-- privileges can be dropped.
REVOKE ALL
    ON _yoyo_migration
  FROM {roles}
