-- Lets roles update a heartbeat.
GRANT UPDATE (at, locked)
   ON internal.heartbeats
   TO {roles}
