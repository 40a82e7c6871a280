-- The roles that have been given rights on something in this database, by name.
SELECT DISTINCT rolname
  FROM pg_shdepend
  JOIN pg_roles
    ON pg_roles.oid = refobjid
 WHERE refclassid = 'pg_authid'::regclass
   AND deptype = 'a'
   AND dbid = (SELECT oid FROM pg_database WHERE datname = current_database())
 ORDER BY rolname
