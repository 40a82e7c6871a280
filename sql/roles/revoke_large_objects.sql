-- Lets only the owner write large objects, which PostgreSQL permits every role. Only a superuser may
-- revoke that: on a managed server nothing changes.
DO $$
DECLARE
    writer regprocedure;
BEGIN
    FOR writer IN
        SELECT oid
          FROM pg_proc
         WHERE pronamespace = 'pg_catalog'::regnamespace
           AND proname IN (
               'lo_creat', 'lo_create', 'lo_from_bytea', 'lo_put', 'lo_truncate', 'lo_truncate64',
               'lo_unlink', 'lowrite')
           AND pg_has_role(proowner, 'USAGE')
           AND has_function_privilege('public', oid, 'EXECUTE')
    LOOP
        EXECUTE format('REVOKE EXECUTE ON FUNCTION %s FROM PUBLIC', writer);
    END LOOP;
END
$$
