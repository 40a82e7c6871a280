-- Databases that killed restores left; only a restore gives such names.
SELECT datname
  FROM pg_database
 WHERE datname ~ '^tracker_(restoring|empty)_[0-9a-f]+$'
 ORDER BY datname
