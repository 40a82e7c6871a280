-- Takes the lock that permits one restore on a server, unless it is held; it ends with the session.
SELECT pg_try_advisory_lock(x'62616b'::integer)
