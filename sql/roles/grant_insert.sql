-- Lets roles record prices, misses and heartbeats; triggers write the rest.
GRANT INSERT
   ON prices, misses, internal.heartbeats
   TO {roles}
