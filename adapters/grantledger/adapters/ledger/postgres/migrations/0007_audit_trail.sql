-- The audit trail: a row for each event and for each journal entry, made again from
-- the log at any time. There are two sides: one is live; the other is empty, or being
-- made anew. next_index: the leaves below it are in the side.
CREATE TABLE audit_position (
    side smallint PRIMARY KEY,
    live boolean NOT NULL,
    next_index bigint NOT NULL
);
INSERT INTO audit_position VALUES (0, true, 0), (1, false, 0);

-- What stands in a leaf in the clear, and nothing else: no erasure changes a row.
-- entry is -1 for an event, else the entry's number; times: microseconds since 1970.
CREATE TABLE audit_rows (
    side smallint NOT NULL,
    leaf_index bigint NOT NULL,
    entry integer NOT NULL,
    recorded_at bigint NOT NULL,
    occurred_at bigint NOT NULL,
    grant_id text,
    stream text NOT NULL,
    stream_seq bigint NOT NULL,
    event text NOT NULL,
    outcome text NOT NULL,
    provider text NOT NULL,
    caller text,
    actor_kind text,
    generation bigint NOT NULL,
    request_id text NOT NULL,
    node text NOT NULL,
    policy text NOT NULL,
    reason text,
    audience text,
    scopes text NOT NULL,
    expires_at bigint,
    PRIMARY KEY (side, leaf_index, entry)
);
CREATE INDEX audit_rows_grant ON audit_rows (side, grant_id, leaf_index, entry)
    WHERE grant_id IS NOT NULL;
CREATE INDEX audit_rows_consent ON audit_rows (side, grant_id, leaf_index)
    WHERE event = 'Provisioned';
CREATE INDEX audit_rows_request ON audit_rows (side, request_id, leaf_index, entry);
CREATE INDEX audit_rows_event ON audit_rows (side, event, leaf_index, entry);
CREATE INDEX audit_rows_caller ON audit_rows (side, caller, leaf_index, entry)
    WHERE caller IS NOT NULL;
CREATE INDEX audit_rows_outcome ON audit_rows (side, outcome, leaf_index, entry)
    WHERE outcome <> 'success';

-- What a row is found by and is personal: a keyed digest of 16 bytes. Those of a grant
-- go when it is erased.
CREATE TABLE audit_terms (
    side smallint NOT NULL,
    leaf_index bigint NOT NULL,
    entry integer NOT NULL,
    term bytea NOT NULL,
    PRIMARY KEY (side, leaf_index, entry, term)
);
CREATE INDEX audit_terms_term ON audit_terms (side, term, leaf_index, entry);

-- Make these the rows of the leaves e_from to e_to in a side. What was erased or pruned
-- since they were made is left out: ledger_erase and ledger_prune wait for the position,
-- which the callers of this hold. For the functions below alone.
--   r_..  one element for each row
--   t_..  one for each term; t_grant is whose key seals what it is made of, or null
CREATE FUNCTION ledger_audit_put(
    e_side integer, e_from bigint, e_to bigint,
    r_leaf bigint[], r_entry bigint[], r_recorded bigint[], r_occurred bigint[],
    r_grant text[], r_stream text[], r_seq bigint[], r_event text[], r_outcome text[],
    r_provider text[], r_caller text[], r_kind text[], r_generation bigint[],
    r_request text[], r_node text[], r_policy text[], r_reason text[],
    r_audience text[], r_scopes text[], r_expires bigint[],
    t_leaf bigint[], t_entry bigint[], t_term bytea[], t_grant text[]
) RETURNS void
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path FROM CURRENT AS $body$
BEGIN
    -- What an older state of the log has left behind gives way: that is the record.
    DELETE FROM audit_rows
        WHERE side = e_side AND leaf_index >= e_from AND leaf_index < e_to;
    DELETE FROM audit_terms
        WHERE side = e_side AND leaf_index >= e_from AND leaf_index < e_to;
    INSERT INTO audit_rows
        SELECT e_side, r.* FROM unnest(
            r_leaf, r_entry, r_recorded, r_occurred, r_grant, r_stream, r_seq,
            r_event, r_outcome, r_provider, r_caller, r_kind, r_generation,
            r_request, r_node, r_policy, r_reason, r_audience, r_scopes, r_expires
        ) AS r (leaf_index, entry)
        WHERE r.entry < 0 OR EXISTS (
            SELECT FROM journal_index j WHERE j.leaf_index = r.leaf_index
        );
    INSERT INTO audit_terms
        SELECT e_side, t.leaf_index, t.entry, t.term
        FROM unnest(t_leaf, t_entry, t_term, t_grant)
            AS t (leaf_index, entry, term, grant_id)
        WHERE NOT EXISTS (
            SELECT FROM current_grants g
            WHERE g.grant_id = t.grant_id AND g.status = 'erased'
        ) AND (t.entry < 0 OR EXISTS (
            SELECT FROM journal_index j WHERE j.leaf_index = t.leaf_index
        ));
END
$body$;

-- Put rows into a side; tell whether they were those that came next.
CREATE FUNCTION ledger_audit_extend(
    e_side integer, e_from bigint, e_to bigint,
    r_leaf bigint[], r_entry bigint[], r_recorded bigint[], r_occurred bigint[],
    r_grant text[], r_stream text[], r_seq bigint[], r_event text[], r_outcome text[],
    r_provider text[], r_caller text[], r_kind text[], r_generation bigint[],
    r_request text[], r_node text[], r_policy text[], r_reason text[],
    r_audience text[], r_scopes text[], r_expires bigint[],
    t_leaf bigint[], t_entry bigint[], t_term bytea[], t_grant text[]
) RETURNS boolean
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path FROM CURRENT AS $body$
BEGIN
    UPDATE audit_position SET next_index = e_to
        WHERE side = e_side AND next_index = e_from;
    IF NOT FOUND THEN
        RETURN false;
    END IF;
    PERFORM ledger_audit_put(
        e_side, e_from, e_to,
        r_leaf, r_entry, r_recorded, r_occurred, r_grant, r_stream, r_seq, r_event,
        r_outcome, r_provider, r_caller, r_kind, r_generation, r_request, r_node,
        r_policy, r_reason, r_audience, r_scopes, r_expires,
        t_leaf, t_entry, t_term, t_grant
    );
    RETURN true;
END
$body$;

-- Put rows into the side that is not live, in whatever order; several may at once.
CREATE FUNCTION ledger_audit_fill(
    e_side integer, e_from bigint, e_to bigint,
    r_leaf bigint[], r_entry bigint[], r_recorded bigint[], r_occurred bigint[],
    r_grant text[], r_stream text[], r_seq bigint[], r_event text[], r_outcome text[],
    r_provider text[], r_caller text[], r_kind text[], r_generation bigint[],
    r_request text[], r_node text[], r_policy text[], r_reason text[],
    r_audience text[], r_scopes text[], r_expires bigint[],
    t_leaf bigint[], t_entry bigint[], t_term bytea[], t_grant text[]
) RETURNS void
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path FROM CURRENT AS $body$
BEGIN
    PERFORM FROM audit_position WHERE side = e_side AND NOT live FOR SHARE;
    IF NOT FOUND THEN
        RAISE EXCEPTION 'the side of the audit trail that is live is not made again'
            USING ERRCODE = 'object_not_in_prerequisite_state';
    END IF;
    PERFORM ledger_audit_put(
        e_side, e_from, e_to,
        r_leaf, r_entry, r_recorded, r_occurred, r_grant, r_stream, r_seq, r_event,
        r_outcome, r_provider, r_caller, r_kind, r_generation, r_request, r_node,
        r_policy, r_reason, r_audience, r_scopes, r_expires,
        t_leaf, t_entry, t_term, t_grant
    );
END
$body$;

-- Set the position of the side that is not live, if it is what the caller says; return
-- 1, or 0. A negative one is that of a run that fills it.
CREATE FUNCTION ledger_audit_move(e_side integer, e_from bigint, e_to bigint)
RETURNS integer
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path FROM CURRENT AS $body$
BEGIN
    UPDATE audit_position SET next_index = e_to
        WHERE side = e_side AND NOT live AND next_index = e_from;
    RETURN CASE WHEN FOUND THEN 1 ELSE 0 END;
END
$body$;

-- Empty so many leaves of the side that is not live; return how many rows that were, 0
-- for an empty one. Rows are deleted, never truncated: who reads them still does.
CREATE FUNCTION ledger_audit_clear(e_side integer, e_leaves bigint) RETURNS bigint
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path FROM CURRENT AS $body$
DECLARE
    rows bigint;
    terms bigint;
BEGIN
    UPDATE audit_position SET next_index = 0 WHERE side = e_side AND NOT live;
    IF NOT FOUND THEN
        RAISE EXCEPTION 'the side of the audit trail that is live is not emptied'
            USING ERRCODE = 'object_not_in_prerequisite_state';
    END IF;
    DELETE FROM audit_terms WHERE side = e_side AND leaf_index < e_leaves
        + (SELECT min(leaf_index) FROM audit_terms WHERE side = e_side);
    GET DIAGNOSTICS terms = ROW_COUNT;
    DELETE FROM audit_rows WHERE side = e_side AND leaf_index < e_leaves
        + (SELECT min(leaf_index) FROM audit_rows WHERE side = e_side);
    GET DIAGNOSTICS rows = ROW_COUNT;
    RETURN rows + terms;
END
$body$;

-- Make a side live, unless it is behind the one that is; return 1, or 0.
CREATE FUNCTION ledger_audit_swap(e_side integer) RETURNS integer
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path FROM CURRENT AS $body$
BEGIN
    PERFORM FROM audit_position ORDER BY side FOR UPDATE;
    UPDATE audit_position SET live = (side = e_side)
        WHERE EXISTS (
            SELECT FROM audit_position n, audit_position o
            WHERE n.side = e_side AND o.side <> n.side AND n.next_index >= o.next_index
        );
    RETURN CASE WHEN FOUND THEN 1 ELSE 0 END;
END
$body$;

-- Make these the rows of the index of tokens for the leaves m_from to m_to. What is to
-- be forgotten is not remembered again (see ledger_complete_tokens).
CREATE FUNCTION ledger_mend_tokens(
    m_from bigint, m_to bigint,
    t_leaf bigint[], t_entry bigint[], t_kind text[], t_fingerprint text[],
    t_grant text[], t_generation bigint[]
) RETURNS void
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path FROM CURRENT AS $body$
BEGIN
    PERFORM FROM token_index_missing FOR UPDATE;
    PERFORM * FROM ledger_lock();
    DELETE FROM token_index WHERE leaf_index >= m_from AND leaf_index < m_to;
    INSERT INTO token_index
        SELECT t.* FROM unnest(
            t_leaf, t_entry, t_kind, t_fingerprint, t_grant, t_generation
        ) AS t (leaf_index, entry, kind, fingerprint, grant_id, generation)
        WHERE NOT EXISTS (
            SELECT 1 FROM current_grants g
            WHERE g.grant_id = t.grant_id AND g.status = 'erased'
        ) AND (t.entry < 0 OR EXISTS (
            SELECT 1 FROM journal_index j WHERE j.leaf_index = t.leaf_index
        ));
END
$body$;

-- As before, and what the audit trail finds the grant's rows by: destroy what opens an
-- erased grant's sealed parts, and the parts; its leaves stay. Returns how many parts
-- were there. For maintenance, and only of a grant whose stream ends with Erased: who
-- has that role alone erases nothing. The head is not locked: nothing is sealed for such
-- a grant any more. Who erased it is sealed under the ledger's key, and stays.
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
    -- No row is made of the grant meanwhile.
    PERFORM FROM audit_position FOR UPDATE;
    DELETE FROM audit_terms t USING audit_rows r, audit_position p
        WHERE r.side = p.side AND r.grant_id = a_grant AND r.event <> 'Erased'
            AND (t.side, t.leaf_index, t.entry) = (r.side, r.leaf_index, r.entry);
    DELETE FROM data_keys WHERE grant_id = a_grant;
    DELETE FROM token_index WHERE grant_id = a_grant;
    DELETE FROM sealed WHERE grant_id = a_grant;
    GET DIAGNOSTICS parts = ROW_COUNT;
    RETURN parts;
END
$body$;

-- As before, and their rows of the audit trail: destroy the bytes and the sealed parts
-- of journal leaves that a stored Pruned event
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
    -- No worker indexes these leaves meanwhile, or makes rows of them.
    PERFORM FROM audit_position FOR UPDATE;
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
    DELETE FROM audit_terms t USING unnest(chosen) AS n, audit_position p
        WHERE t.side = p.side AND t.leaf_index = n - 1;
    DELETE FROM audit_rows r USING unnest(chosen) AS n, audit_position p
        WHERE r.side = p.side AND r.leaf_index = n - 1;
    DELETE FROM journal_index i USING unnest(chosen) AS n WHERE i.leaf_index = n - 1;
    RETURN cardinality(chosen);
END
$body$;

REVOKE ALL ON ALL FUNCTIONS IN SCHEMA :schema FROM PUBLIC;
