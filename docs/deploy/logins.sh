#!/bin/sh
# Makes the login that the replicas use, at the database's first start; the roles come from grantledger.sql before it.
set -eu
psql -X -v ON_ERROR_STOP=1 -v password="$(cat /run/secrets/broker_password)" \
  --username "$POSTGRES_USER" --dbname "$POSTGRES_DB" <<'SQL'
CREATE ROLE broker LOGIN PASSWORD :'password' IN ROLE grantledger_app;
SQL
