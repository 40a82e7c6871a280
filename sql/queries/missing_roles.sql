-- Given roles that the server lacks, by name.
SELECT wanted.role
  FROM unnest(%(roles)s::text[]) AS wanted (role)
 WHERE NOT EXISTS (
    SELECT
      FROM pg_roles
     WHERE rolname = wanted.role)
 ORDER BY wanted.role
