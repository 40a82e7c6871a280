-- Whether no other restore is under way on this server; the lock ends with its connection.
SELECT pg_try_advisory_lock(x'62616b'::integer)
