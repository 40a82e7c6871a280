-- Those of the given migrations that the database lacks, oldest first.
SELECT wanted.name
  FROM unnest(%(names)s::text[]) AS wanted (name)
 WHERE NOT EXISTS (
    SELECT
      FROM _yoyo_migration
     WHERE migration_id = wanted.name)
 ORDER BY wanted.name
