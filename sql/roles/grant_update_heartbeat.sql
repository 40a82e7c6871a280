-- Lets roles renew a heartbeat.
GRANT UPDATE (at)
   ON internal.heartbeats
   TO {roles}
