-- Lets roles update a heartbeat.
GRANT UPDATE (at)
   ON internal.heartbeats
   TO {roles}
