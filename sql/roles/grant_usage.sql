-- Lets roles refer to objects of the internal schema.
GRANT USAGE
   ON SCHEMA internal
   TO {roles}
