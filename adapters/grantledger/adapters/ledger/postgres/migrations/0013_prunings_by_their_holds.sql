-- What was under legal hold before an event of the ledger's own stream.
CREATE FUNCTION ledger_held_before(a_version bigint, OUT whole text, OUT grants text[])
LANGUAGE sql STABLE SECURITY DEFINER SET search_path FROM CURRENT AS $body$
    WITH said AS MATERIALIZED (
        SELECT e.topic, convert_from(e.state, 'UTF8')::json -> 'fields' AS f
        FROM stored_events e
        WHERE e.originator_id = '6772616e-746c-4564-8765-720000000001'
            AND e.originator_version < a_version
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

-- Refuse, at the end of a destruction, where a hold came since it began. The head stays
-- locked until the commit: a hold that is appended later comes after what is gone.
CREATE FUNCTION ledger_check_unheld(a_grant text, a_spared text[]) RETURNS void
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path FROM CURRENT AS $body$
DECLARE
    held record;
BEGIN
    PERFORM * FROM ledger_lock();
    SELECT * INTO held FROM ledger_held();
    IF a_grant IS NULL AND (held.whole IS NOT NULL OR NOT held.grants <@ a_spared) THEN
        RAISE EXCEPTION 'a legal hold came while the journal was pruned'
            USING ERRCODE = 'object_in_use';
    END IF;
    IF held.whole IS NOT NULL OR a_grant::uuid::text = ANY (held.grants) THEN
        RAISE EXCEPTION 'grant % is under legal hold', a_grant::uuid
            USING ERRCODE = 'object_in_use';
    END IF;
END
$body$;

CREATE OR REPLACE FUNCTION ledger_erase(a_grant text) RETURNS bigint
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path FROM CURRENT AS $body$
DECLARE
    held record;
    parts bigint;
BEGIN
    SELECT * INTO held FROM ledger_held();
    IF held.whole IS NOT NULL OR a_grant::uuid::text = ANY (held.grants) THEN
        RAISE EXCEPTION 'grant % is under legal hold', a_grant::uuid
            USING ERRCODE = 'object_in_use';
    END IF;
    parts := ledger_erase_unheld(a_grant);
    PERFORM ledger_check_unheld(a_grant, NULL);
    RETURN parts;
END
$body$;

-- As before; and what was held when the Pruned event was said stays after the release,
-- too: the event did not count it, and the next one will.
CREATE OR REPLACE FUNCTION ledger_prune(a_version bigint, a_from bigint, a_count integer)
RETURNS bigint
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path FROM CURRENT AS $body$
DECLARE
    held record;
    earlier record;
    spared text[];
    kept bigint;
    start bigint := a_from;
    gone bigint := 0;
BEGIN
    SELECT * INTO held FROM ledger_held();
    IF held.whole IS NOT NULL THEN
        RAISE EXCEPTION 'the journal is under legal hold %', held.whole
            USING ERRCODE = 'object_in_use';
    END IF;
    SELECT * INTO earlier FROM ledger_held_before(a_version);
    IF earlier.whole IS NOT NULL THEN
        RETURN 0;
    END IF;
    spared := held.grants || earlier.grants;
    IF cardinality(spared) > 0 THEN
        FOR kept IN
            SELECT e.notification_id - 1 FROM stored_events e
            WHERE e.notification_id > a_from AND e.notification_id <= a_from + a_count
                AND e.topic = 'grantledger.journal.access-recorded.v1'
                AND octet_length(e.state) > 0
                AND EXISTS (
                    SELECT FROM json_array_elements(
                        convert_from(e.state, 'UTF8')::json -> 'entries'
                    ) AS x
                    WHERE x ->> 'grant_id' = ANY (spared)
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
    PERFORM ledger_check_unheld(NULL, earlier.grants || held.grants);
    RETURN gone;
END
$body$;

REVOKE ALL ON ALL FUNCTIONS IN SCHEMA :schema FROM PUBLIC;
