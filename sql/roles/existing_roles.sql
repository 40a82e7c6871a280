-- Given roles that the server has, by name.
SELECT rolname
  FROM pg_roles
 WHERE rolname = ANY (%(roles)s)
 ORDER BY rolname
