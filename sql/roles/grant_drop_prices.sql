-- Lets roles apply the retention.
GRANT EXECUTE
   ON FUNCTION internal.drop_prices(interval)
   TO {roles}
