-- Five roles for one ledger, and what each may do. For a database administrator, who
-- has it with the schema before it in one file:
--
--   grantledger migrate --print-sql --schema grantledger > grantledger.sql
--   psql -X -f grantledger.sql postgresql://superuser@server/database
--
-- The schema is the first of the search path; every ledger of the cluster shares the
-- roles. Run it again after each new version; running it twice changes nothing. The
-- roles cannot log in: grant them to those that do, such as
--
--   CREATE ROLE broker LOGIN PASSWORD '...' IN ROLE grantledger_app;
--
-- grantledger_owner        owns everything; runs `grantledger migrate`; nobody's role
--                          in daily work
-- grantledger_app          the broker: reads, and executes the functions that append;
--                          it cannot UPDATE, DELETE, TRUNCATE, or insert by itself
-- grantledger_maintenance  reads, and executes the functions that erase and prune what
--                          the log says is erased or pruned; VACUUMs (PostgreSQL 17+)
-- grantledger_auditor      reads, and nothing else; keys and ciphertexts are not for it
-- grantledger_reader       reads everything, and nothing else; with the key ring it shows
--                          what is sealed, such as `grantledger console` does
DO $roles$
DECLARE
    role text;
    thing record;
    home text := current_schema();
BEGIN
    IF to_regclass('log_head') IS NULL THEN
        RAISE EXCEPTION 'there is no ledger in schema %', home;
    END IF;
    FOREACH role IN ARRAY ARRAY[
        'grantledger_owner', 'grantledger_app', 'grantledger_maintenance',
        'grantledger_auditor', 'grantledger_reader'
    ] LOOP
        IF NOT EXISTS (SELECT 1 FROM pg_roles WHERE rolname = role) THEN
            EXECUTE format('CREATE ROLE %I NOLOGIN', role);
        END IF;
    END LOOP;

    -- Everything is the owner's. The functions run as who owns them.
    EXECUTE format('ALTER SCHEMA %I OWNER TO grantledger_owner', home);
    FOR thing IN
        SELECT c.oid::regclass AS name FROM pg_class c
        WHERE c.relnamespace = home::regnamespace AND c.relkind = 'r'
    LOOP
        EXECUTE format('ALTER TABLE %s OWNER TO grantledger_owner', thing.name);
        EXECUTE format(
            'REVOKE ALL ON TABLE %s FROM PUBLIC, grantledger_app, '
            'grantledger_maintenance, grantledger_auditor, grantledger_reader',
            thing.name
        );
        EXECUTE format(
            'GRANT SELECT ON TABLE %s TO grantledger_app, grantledger_maintenance, '
            'grantledger_reader', thing.name
        );
    END LOOP;
    FOR thing IN
        SELECT p.oid::regprocedure AS name FROM pg_proc p
        WHERE p.pronamespace = home::regnamespace AND p.proname LIKE 'ledger\_%'
    LOOP
        EXECUTE format('ALTER FUNCTION %s OWNER TO grantledger_owner', thing.name);
        EXECUTE format(
            'REVOKE ALL ON FUNCTION %s FROM PUBLIC, grantledger_app, '
            'grantledger_maintenance, grantledger_auditor, grantledger_reader',
            thing.name
        );
    END LOOP;
    EXECUTE format('REVOKE ALL ON SCHEMA %I FROM PUBLIC', home);
    EXECUTE format(
        'GRANT USAGE ON SCHEMA %I TO grantledger_app, grantledger_maintenance, '
        'grantledger_auditor, grantledger_reader', home
    );

    -- The broker.
    FOR thing IN
        SELECT p.oid::regprocedure AS name FROM pg_proc p
        WHERE p.pronamespace = home::regnamespace AND p.proname IN (
            'ledger_lock', 'ledger_append', 'ledger_keep_key_checks',
            'ledger_keep_client', 'ledger_schedule', 'ledger_complete_schedule',
            'ledger_claim', 'ledger_index_tokens', 'ledger_complete_tokens',
            'ledger_once', 'ledger_outbox_look', 'ledger_outbox_lease',
            'ledger_outbox_done', 'ledger_log_nodes', 'ledger_publish',
            'ledger_cosigned', 'ledger_audit_extend'
        )
    LOOP
        EXECUTE format('GRANT EXECUTE ON FUNCTION %s TO grantledger_app', thing.name);
    END LOOP;

    -- Maintenance.
    FOR thing IN
        SELECT p.oid::regprocedure AS name FROM pg_proc p
        WHERE p.pronamespace = home::regnamespace AND p.proname IN (
            'ledger_erase', 'ledger_prune', 'ledger_rewrap', 'ledger_recode',
            'ledger_reseal_client', 'ledger_retire_key',
            'ledger_audit_fill', 'ledger_audit_move', 'ledger_audit_clear',
            'ledger_audit_swap', 'ledger_mend_tokens'
        )
    LOOP
        EXECUTE format(
            'GRANT EXECUTE ON FUNCTION %s TO grantledger_maintenance', thing.name
        );
    END LOOP;
    IF current_setting('server_version_num')::integer >= 170000 THEN
        -- VACUUM, so that what was destroyed does not stay on the disk.
        GRANT MAINTAIN ON data_keys, sealed, current_grants, grant_states,
            stored_events, journal_index, token_index, audit_rows, audit_terms
            TO grantledger_maintenance;
    END IF;

    -- The auditor: the log itself, and the rows of its audit trail. Data keys, ciphertexts
    -- and sealed states are left out; whoever holds the key ring as well reads them as
    -- another role.
    GRANT SELECT ON log_head, stored_events, journal_index, meta, log_nodes,
        checkpoints, cosignatures, audit_position, audit_rows TO grantledger_auditor;
END
$roles$;
