-- Lets roles delete misses that a wrong clock recorded.
GRANT EXECUTE
   ON FUNCTION internal.discard_misses(timestamptz)
   TO {roles}
