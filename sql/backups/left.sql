-- Databases that restores have left: they were killed. Nobody else gives such names.
SELECT datname
  FROM pg_database
 WHERE datname ~ '^tracker_(restoring|empty)_[0-9a-f]{32}$'
 ORDER BY datname
