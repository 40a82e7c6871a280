-- Takes the lock that one restore of a server may hold, unless it is taken; it ends with the session.
SELECT pg_try_advisory_lock(x'62616b'::integer)
