-- Erasures that were cut short are looked for again and again.
CREATE INDEX current_grants_erased ON current_grants (grant_id) WHERE status = 'erased';

-- Destroy what opens an erased grant's sealed parts, and the parts; its leaves stay.
-- Returns how many parts were there. For maintenance, and only of a grant whose stream
-- ends with Erased: who has that role alone erases nothing. The head is not locked:
-- nothing is sealed for such a grant any more.
CREATE OR REPLACE FUNCTION ledger_erase(a_grant text) RETURNS bigint
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path FROM CURRENT AS $body$
DECLARE
    parts bigint;
    last text;
BEGIN
    SELECT e.topic INTO last FROM stored_events e
        WHERE e.originator_id = a_grant::uuid
        ORDER BY e.originator_version DESC LIMIT 1;
    IF last IS DISTINCT FROM 'grantledger.user-grant.erased.v1' THEN
        RAISE EXCEPTION 'the log does not say that grant % is erased', a_grant
            USING ERRCODE = 'object_not_in_prerequisite_state';
    END IF;
    DELETE FROM data_keys WHERE grant_id = a_grant;
    DELETE FROM sealed WHERE grant_id = a_grant;
    GET DIAGNOSTICS parts = ROW_COUNT;
    RETURN parts;
END
$body$;

-- Destroy the bytes and the sealed parts of journal leaves that a stored Pruned event
-- covers, of so many leaves from a_from on; hashes and rows stay. Returns how many went.
-- For maintenance: who has that role alone prunes nothing that the log does not name.
--   a_version  of the Pruned event in the ledger's own stream
CREATE FUNCTION ledger_prune(a_version bigint, a_from bigint, a_count integer)
RETURNS bigint
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path FROM CURRENT AS $body$
DECLARE
    said json;
    till bigint;
    expired bigint;
    chosen bigint[];
BEGIN
    SELECT convert_from(e.state, 'UTF8')::json -> 'fields', e.notification_id - 1
        INTO said, till FROM stored_events e
        WHERE e.originator_id = '6772616e-746c-4564-8765-720000000001'
            AND e.originator_version = a_version
            AND e.topic = 'grantledger.ledger.pruned.v1';
    IF NOT FOUND THEN
        RAISE EXCEPTION 'event % of the ledger prunes nothing', a_version
            USING ERRCODE = 'object_not_in_prerequisite_state';
    END IF;
    till := least(till, (said ->> 'below')::bigint, a_from + a_count);
    -- Microseconds since 1970, exactly.
    expired := (extract(epoch FROM (said ->> 'occurred_at')::timestamptz) * 1000000)::bigint;
    SELECT array_agg(e.notification_id) INTO chosen
        FROM stored_events e
        JOIN journal_index j ON j.leaf_index = e.notification_id - 1
        WHERE e.notification_id > a_from AND e.notification_id <= till
            AND e.topic = 'grantledger.journal.access-recorded.v1'
            AND octet_length(e.state) > 0
            AND j.live_until <= expired
            AND NOT EXISTS (
                SELECT 1
                FROM json_array_elements(
                    convert_from(e.state, 'UTF8')::json -> 'entries'
                ) AS x
                WHERE x ->> 'outcome' NOT IN (
                    SELECT json_array_elements_text(said -> 'outcomes')
                )
            );
    IF chosen IS NULL THEN
        RETURN 0;
    END IF;
    UPDATE stored_events SET state = ''::bytea WHERE notification_id = ANY (chosen);
    DELETE FROM sealed s USING unnest(chosen) AS n WHERE s.leaf_index = n - 1;
    DELETE FROM journal_index i USING unnest(chosen) AS n WHERE i.leaf_index = n - 1;
    RETURN cardinality(chosen);
END
$body$;

-- A function is everybody's unless it is taken from them.
REVOKE ALL ON FUNCTION ledger_prune(bigint, bigint, integer) FROM PUBLIC;
