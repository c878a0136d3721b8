-- What the ledger's own events say is under legal hold now: holds on everything, and
-- the grants of the others.
CREATE FUNCTION ledger_held(OUT whole text, OUT grants text[])
LANGUAGE sql STABLE SECURITY DEFINER SET search_path FROM CURRENT AS $body$
    WITH said AS MATERIALIZED (
        SELECT e.topic, convert_from(e.state, 'UTF8')::json -> 'fields' AS f
        FROM stored_events e
        WHERE e.originator_id = '6772616e-746c-4564-8765-720000000001'
            AND e.topic IN (
                'grantledger.ledger.legal-hold-set.v1',
                'grantledger.ledger.legal-hold-extended.v1',
                'grantledger.ledger.legal-hold-released.v1'
            )
    ), live AS (
        SELECT s.f FROM said s
        WHERE s.topic <> 'grantledger.ledger.legal-hold-released.v1'
            AND NOT EXISTS (
                SELECT FROM said r
                WHERE r.topic = 'grantledger.ledger.legal-hold-released.v1'
                    AND r.f ->> 'hold_id' = s.f ->> 'hold_id'
            )
    )
    SELECT
        (SELECT max(f ->> 'hold_id') FROM live WHERE f ->> 'scope' = 'everything'),
        ARRAY(
            SELECT DISTINCT json_array_elements_text(f -> 'grants') FROM live
        );
$body$;

-- Erasing and pruning go on as they were, where no hold stands against them.
ALTER FUNCTION ledger_erase(text) RENAME TO ledger_erase_unheld;
ALTER FUNCTION ledger_prune(bigint, bigint, integer) RENAME TO ledger_prune_unheld;

CREATE FUNCTION ledger_erase(a_grant text) RETURNS bigint
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path FROM CURRENT AS $body$
DECLARE
    held record;
BEGIN
    SELECT * INTO held FROM ledger_held();
    IF held.whole IS NOT NULL OR a_grant::uuid::text = ANY (held.grants) THEN
        RAISE EXCEPTION 'grant % is under legal hold', a_grant::uuid
            USING ERRCODE = 'object_in_use';
    END IF;
    RETURN ledger_erase_unheld(a_grant);
END
$body$;

-- A leaf with an entry of a grant that is held stays: what lies between those is pruned.
CREATE FUNCTION ledger_prune(a_version bigint, a_from bigint, a_count integer)
RETURNS bigint
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path FROM CURRENT AS $body$
DECLARE
    held record;
    kept bigint;
    start bigint := a_from;
    gone bigint := 0;
BEGIN
    SELECT * INTO held FROM ledger_held();
    IF held.whole IS NOT NULL THEN
        RAISE EXCEPTION 'the journal is under legal hold %', held.whole
            USING ERRCODE = 'object_in_use';
    END IF;
    IF cardinality(held.grants) > 0 THEN
        FOR kept IN
            SELECT e.notification_id - 1 FROM stored_events e
            WHERE e.notification_id > a_from AND e.notification_id <= a_from + a_count
                AND e.topic = 'grantledger.journal.access-recorded.v1'
                AND octet_length(e.state) > 0
                AND EXISTS (
                    SELECT FROM json_array_elements(
                        convert_from(e.state, 'UTF8')::json -> 'entries'
                    ) AS x
                    WHERE x ->> 'grant_id' = ANY (held.grants)
                )
            ORDER BY 1
        LOOP
            IF kept > start THEN
                gone := gone
                    + ledger_prune_unheld(a_version, start, (kept - start)::integer);
            END IF;
            start := kept + 1;
        END LOOP;
    END IF;
    IF start < a_from + a_count THEN
        gone := gone
            + ledger_prune_unheld(a_version, start, (a_from + a_count - start)::integer);
    END IF;
    RETURN gone;
END
$body$;

-- Which data keys are wrapped with a key that is to be retired.
CREATE INDEX data_keys_kek ON data_keys (kek_id);

-- Put data keys in another wrapping, each where it is still the one that was read;
-- returns how many.
CREATE FUNCTION ledger_rewrap(
    k_grant text[], k_old bytea[], k_kek text[], k_new bytea[]
) RETURNS bigint
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path FROM CURRENT AS $body$
DECLARE
    done bigint;
BEGIN
    -- In order, so that no two wait for each other.
    PERFORM FROM data_keys WHERE grant_id = ANY (k_grant) ORDER BY grant_id FOR UPDATE;
    UPDATE data_keys d SET kek_id = k.kek_id, wrapped = k.wrapped
        FROM unnest(k_grant, k_old, k_kek, k_new) AS k (grant_id, old, kek_id, wrapped)
        WHERE d.grant_id = k.grant_id AND d.wrapped = k.old;
    GET DIAGNOSTICS done = ROW_COUNT;
    RETURN done;
END
$body$;

-- Give rows of grants another code, each where it still has the one that was read; the
-- head is locked first, as an append does. Returns how many.
CREATE FUNCTION ledger_recode(r_grant text[], r_old bytea[], r_new bytea[])
RETURNS bigint
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path FROM CURRENT AS $body$
DECLARE
    done bigint;
BEGIN
    PERFORM * FROM ledger_lock();
    UPDATE current_grants g SET code = r.code
        FROM unnest(r_grant, r_old, r_new) AS r (grant_id, old, code)
        WHERE g.grant_id = r.grant_id AND g.code = r.old;
    GET DIAGNOSTICS done = ROW_COUNT;
    RETURN done;
END
$body$;

-- Keep a provider's client as sealed anew, unless it was renewed meanwhile; tell whether.
CREATE FUNCTION ledger_reseal_client(c_provider text, c_old bytea, c_new bytea)
RETURNS boolean
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path FROM CURRENT AS $body$
BEGIN
    UPDATE provider_clients SET sealed = c_new
        WHERE provider = c_provider AND sealed = c_old;
    RETURN FOUND;
END
$body$;

-- Let rings lack a key that nothing stored needs: an empty check value stands for it.
CREATE FUNCTION ledger_retire_key(k_id text) RETURNS integer
LANGUAGE sql VOLATILE SECURITY DEFINER SET search_path FROM CURRENT AS $body$
    UPDATE key_checks SET value = ''::bytea WHERE key_id = k_id RETURNING 1;
$body$;

REVOKE ALL ON ALL FUNCTIONS IN SCHEMA :schema FROM PUBLIC;
