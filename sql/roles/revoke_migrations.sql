-- Takes the last right of roles on a database without the schema, so that they can be dropped.
REVOKE ALL
    ON _yoyo_migration
  FROM {roles}
