-- Lets roles name what is in the schema of the machinery.
GRANT USAGE
   ON SCHEMA internal
   TO {roles}
