-- Lets roles update a heartbeat.
GRANT UPDATE (at, locked, names)
   ON internal.heartbeats
   TO {roles}
