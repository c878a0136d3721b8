-- Which token is whose, by keyed fingerprint: written with the leaf that records it.
-- entry is -1 for an event of a grant, else the entry's number in its journal event.
-- The rows grow at the table's end; the fingerprints are found by the index.
CREATE TABLE token_index (
    leaf_index bigint NOT NULL,
    entry integer NOT NULL,
    kind text NOT NULL,
    fingerprint text NOT NULL,
    grant_id text NOT NULL,
    generation bigint NOT NULL,
    PRIMARY KEY (leaf_index, entry, kind)
);
CREATE INDEX token_index_fingerprint ON token_index (fingerprint);

-- Leaves from before there was an index, next_index to end_index: not in it yet.
CREATE TABLE token_index_missing (
    one smallint PRIMARY KEY CHECK (one = 1),
    next_index bigint NOT NULL,
    end_index bigint NOT NULL
);
-- Locked, so that no append comes between this and the next program's appends unseen.
INSERT INTO token_index_missing SELECT 1, 0, next_index FROM log_head FOR UPDATE;

-- Index tokens; called in the statement of their append. One element for each token.
CREATE FUNCTION ledger_index_tokens(
    t_leaf bigint[], t_entry bigint[], t_kind text[], t_fingerprint text[],
    t_grant text[], t_generation bigint[]
) RETURNS void
LANGUAGE sql VOLATILE SECURITY DEFINER SET search_path FROM CURRENT AS $body$
    INSERT INTO token_index
        SELECT * FROM unnest(
            t_leaf, t_entry, t_kind, t_fingerprint, t_grant, t_generation
        )
        -- What an older state of the log has left behind gives way: that is the record.
        ON CONFLICT (leaf_index, entry, kind) DO UPDATE SET
            fingerprint = excluded.fingerprint,
            grant_id = excluded.grant_id,
            generation = excluded.generation;
$body$;

-- Index tokens of leaves from before there was an index, c_from to c_to; what was done
-- by another worker meanwhile is left as it is. What is to be forgotten is not
-- remembered again: who prunes holds the row that is updated first, and an erasure is
-- appended under the head's lock.
CREATE FUNCTION ledger_complete_tokens(
    c_from bigint, c_to bigint,
    t_leaf bigint[], t_entry bigint[], t_kind text[], t_fingerprint text[],
    t_grant text[], t_generation bigint[]
) RETURNS void
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path FROM CURRENT AS $body$
BEGIN
    UPDATE token_index_missing SET next_index = c_to WHERE next_index = c_from;
    IF NOT FOUND THEN
        RETURN;
    END IF;
    PERFORM * FROM ledger_lock();
    INSERT INTO token_index
        SELECT t.* FROM unnest(
            t_leaf, t_entry, t_kind, t_fingerprint, t_grant, t_generation
        ) AS t (leaf_index, entry, kind, fingerprint, grant_id, generation)
        WHERE NOT EXISTS (
            SELECT 1 FROM current_grants g
            WHERE g.grant_id = t.grant_id AND g.status = 'erased'
        ) AND (t.entry < 0 OR EXISTS (
            SELECT 1 FROM journal_index j WHERE j.leaf_index = t.leaf_index
        ))
        ON CONFLICT DO NOTHING;
END
$body$;

-- As before, and the grant's rows of the index: destroy what opens an erased grant's
-- sealed parts, and the parts; its leaves stay. Returns how many parts were there. For
-- maintenance, and only of a grant whose stream ends with Erased: who has that role
-- alone erases nothing. The head is not locked: nothing is sealed for such a grant any
-- more.
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
    DELETE FROM token_index WHERE grant_id = a_grant;
    DELETE FROM sealed WHERE grant_id = a_grant;
    GET DIAGNOSTICS parts = ROW_COUNT;
    RETURN parts;
END
$body$;

-- As before, and their rows of the index: destroy the bytes and the sealed parts of
-- journal leaves that a stored Pruned event
-- covers, of so many leaves from a_from on; hashes and rows stay. Returns how many went.
-- For maintenance: who has that role alone prunes nothing that the log does not name.
--   a_version  of the Pruned event in the ledger's own stream
CREATE OR REPLACE FUNCTION ledger_prune(a_version bigint, a_from bigint, a_count integer)
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
    -- No worker indexes these leaves meanwhile.
    PERFORM FROM token_index_missing FOR SHARE;
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
    DELETE FROM token_index t USING unnest(chosen) AS n WHERE t.leaf_index = n - 1;
    DELETE FROM journal_index i USING unnest(chosen) AS n WHERE i.leaf_index = n - 1;
    RETURN cardinality(chosen);
END
$body$;

REVOKE ALL ON ALL FUNCTIONS IN SCHEMA :schema FROM PUBLIC;
