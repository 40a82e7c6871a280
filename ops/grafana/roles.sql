-- The database roles of Grafana and the exporter. It runs at each start, which applies new passwords.
-- Requires a superuser, and the psql variable `secrets`: the folder of the password files.
\set ON_ERROR_STOP on
SET client_min_messages = warning;
\set grafana_password `cat :secrets/grafana_db_password`
\set exporter_password `cat :secrets/exporter_db_password`

SELECT format('CREATE ROLE %I', role)
  FROM unnest(ARRAY['grafana', 'exporter']) AS wanted (role)
 WHERE NOT EXISTS (SELECT FROM pg_roles WHERE rolname = role)
 ORDER BY role
\gexec

-- Read-only; slow queries of a panel are cancelled.
ALTER ROLE grafana LOGIN PASSWORD :'grafana_password' CONNECTION LIMIT 20;
ALTER ROLE grafana SET default_transaction_read_only = on;
ALTER ROLE grafana SET statement_timeout = '20s';
GRANT SELECT ON ALL TABLES IN SCHEMA public TO grafana;
ALTER DEFAULT PRIVILEGES IN SCHEMA public GRANT SELECT ON TABLES TO grafana;

-- Reads the server's statistics, not prices.
ALTER ROLE exporter LOGIN PASSWORD :'exporter_password' CONNECTION LIMIT 5;
GRANT pg_monitor TO exporter;
