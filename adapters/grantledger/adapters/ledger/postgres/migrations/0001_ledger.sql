-- The ledger as it began, in the schema that comes first in the search path. Only
-- stored_events, log_head, sealed and data_keys are the record; every other table
-- can be made again from them.

-- One row, updated by every append: who holds its lock is the one who writes.
CREATE TABLE log_head (
    one smallint PRIMARY KEY CHECK (one = 1),
    next_index bigint NOT NULL,
    frontier bytea NOT NULL
) WITH (fillfactor = 10);
INSERT INTO log_head VALUES (1, 0, ''::bytea);

-- notification_id = leaf index + 1: contiguous and in commit order, no sequence.
-- state is the leaf: the very bytes that are hashed and replayed.
CREATE TABLE stored_events (
    notification_id bigint PRIMARY KEY,
    originator_id uuid NOT NULL,
    originator_version bigint NOT NULL,
    topic text NOT NULL,
    state bytea NOT NULL CHECK (octet_length(state) < 65536),
    leaf_hash bytea NOT NULL,
    UNIQUE (originator_id, originator_version)
);

-- What leaves hold only the hash and the commitment of; entry is -1 for a field of
-- the event itself.
CREATE TABLE sealed (
    leaf_index bigint NOT NULL,
    entry integer NOT NULL,
    field text NOT NULL,
    grant_id text NOT NULL,
    dek_id text NOT NULL,
    ct bytea NOT NULL,
    PRIMARY KEY (leaf_index, entry, field)
);

CREATE TABLE data_keys (
    dek_id text PRIMARY KEY,
    grant_id text NOT NULL UNIQUE,
    kek_id text NOT NULL,
    wrapped bytea NOT NULL
);

CREATE TABLE key_checks (
    key_id text PRIMARY KEY,
    value bytea NOT NULL
);

CREATE TABLE meta (
    name text PRIMARY KEY,
    value text NOT NULL
);

-- state is sealed under the grant's data key; code is a keyed MAC over the row.
CREATE TABLE current_grants (
    grant_id text PRIMARY KEY,
    version bigint NOT NULL,
    leaf_index bigint NOT NULL,
    provider text NOT NULL,
    subject_digest bytea NOT NULL,
    status text NOT NULL,
    generation bigint NOT NULL,
    due_at bigint,
    modified_at bigint NOT NULL,
    state bytea NOT NULL,
    code bytea NOT NULL,
    UNIQUE (provider, subject_digest)
);
CREATE INDEX current_grants_due ON current_grants (due_at) WHERE due_at IS NOT NULL;

-- Which grants a journal event speaks of: their ids, 16 bytes each, one after the
-- other. live_until is the latest expiry of a token handed out in it (microseconds
-- since 1970, 0 for none).
CREATE TABLE journal_index (
    leaf_index bigint PRIMARY KEY,
    live_until bigint NOT NULL,
    grants bytea NOT NULL
);
CREATE INDEX journal_index_live ON journal_index (live_until);

-- Dynamically registered clients, sealed (RFC 7591).
CREATE TABLE provider_clients (
    provider text PRIMARY KEY,
    sealed bytea NOT NULL
);

-- Lock the head; return how many leaves there are, and the time under the lock.
-- In any isolation but READ COMMITTED, what is read after the wait for the lock
-- would be from before it.
CREATE FUNCTION ledger_lock(OUT head_size bigint, OUT locked_at timestamptz)
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path FROM CURRENT AS $body$
BEGIN
    IF current_setting('transaction_isolation') <> 'read committed' THEN
        RAISE EXCEPTION 'the ledger is written in READ COMMITTED only, not in %',
            upper(current_setting('transaction_isolation'))
            USING ERRCODE = 'invalid_transaction_state';
    END IF;
    SELECT h.next_index INTO head_size FROM log_head h FOR UPDATE;
    IF NOT FOUND THEN
        RAISE EXCEPTION 'the log has no head' USING ERRCODE = 'data_corrupted';
    END IF;
    locked_at := clock_timestamp();
END
$body$;

-- Append leaves at the head, if the head is where the caller has decided upon:
-- everything that it has read since is then still true. The verdict is 'appended',
-- or, with nothing written, 'moved' or 'skewed'. Hashes and the head are computed
-- here, so that a role that may only execute this cannot forge them.
--   a_size      how many leaves the caller knows of
--   a_recorded  the time that stands in the leaves, within 2 s of the server's
--   a_streams.. one element for each leaf
--   p_leaf..    one for each sealed part; k_dek.. one for each fresh data key
--   r_grant..   one for each grant, its row; j_leaf.. one for each journal event
CREATE FUNCTION ledger_append(
    a_size bigint, a_recorded timestamptz,
    a_streams uuid[], a_versions bigint[], a_topics text[], a_states bytea[],
    p_leaf bigint[], p_entry bigint[], p_field text[], p_grant text[],
    p_dek text[], p_ct bytea[],
    k_dek text[], k_grant text[], k_kek text[], k_wrapped bytea[],
    r_grant text[], r_version bigint[], r_leaf bigint[], r_provider text[],
    r_digest bytea[], r_status text[], r_generation bigint[], r_due bigint[],
    r_modified bigint[], r_state bytea[], r_code bytea[],
    j_leaf bigint[], j_until bigint[], j_grants bytea[],
    OUT verdict text, OUT head_size bigint, OUT appended_at timestamptz
)
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path FROM CURRENT AS $body$
DECLARE
    edge bytea;
    leaf bytea;
    node bytea;
    hashes bytea[] := '{}';
    size bigint;
BEGIN
    IF current_setting('transaction_isolation') <> 'read committed' THEN
        RAISE EXCEPTION 'the ledger is written in READ COMMITTED only, not in %',
            upper(current_setting('transaction_isolation'))
            USING ERRCODE = 'invalid_transaction_state';
    END IF;
    SELECT h.next_index, h.frontier INTO head_size, edge FROM log_head h FOR UPDATE;
    IF NOT FOUND THEN
        RAISE EXCEPTION 'the log has no head' USING ERRCODE = 'data_corrupted';
    END IF;
    appended_at := clock_timestamp();
    IF head_size <> a_size THEN
        verdict := 'moved';
        RETURN;
    END IF;
    IF abs(extract(epoch FROM appended_at - a_recorded)) > 2 THEN
        verdict := 'skewed';
        RETURN;
    END IF;
    IF octet_length(edge) <> 32 * bit_count(head_size::bit(64)) THEN
        RAISE EXCEPTION 'the log''s head is damaged' USING ERRCODE = 'data_corrupted';
    END IF;
    -- RFC 6962 section 2.1; the frontier has a hash for each set bit of the size.
    FOREACH leaf IN ARRAY a_states LOOP
        node := sha256('\x00'::bytea || leaf);
        hashes := hashes || node;
        size := head_size;
        WHILE size & 1 = 1 LOOP
            node := sha256(
                '\x01'::bytea || substr(edge, octet_length(edge) - 31) || node
            );
            edge := substr(edge, 1, octet_length(edge) - 32);
            size := size >> 1;
        END LOOP;
        edge := edge || node;
        head_size := head_size + 1;
    END LOOP;
    INSERT INTO stored_events
        SELECT a_size + x.nth, x.stream, x.version, x.topic, x.state, x.hash
        FROM unnest(a_streams, a_versions, a_topics, a_states, hashes)
            WITH ORDINALITY AS x (stream, version, topic, state, hash, nth);
    IF cardinality(p_leaf) > 0 THEN
        INSERT INTO sealed
            SELECT * FROM unnest(p_leaf, p_entry, p_field, p_grant, p_dek, p_ct);
    END IF;
    IF cardinality(k_dek) > 0 THEN
        INSERT INTO data_keys SELECT * FROM unnest(k_dek, k_grant, k_kek, k_wrapped);
    END IF;
    IF cardinality(r_grant) > 0 THEN
        INSERT INTO current_grants
            SELECT * FROM unnest(
                r_grant, r_version, r_leaf, r_provider, r_digest, r_status,
                r_generation, r_due, r_modified, r_state, r_code
            )
            ON CONFLICT (grant_id) DO UPDATE SET version = excluded.version,
                leaf_index = excluded.leaf_index, status = excluded.status,
                subject_digest = excluded.subject_digest,
                generation = excluded.generation, due_at = excluded.due_at,
                modified_at = excluded.modified_at, state = excluded.state,
                code = excluded.code;
    END IF;
    IF cardinality(j_leaf) > 0 THEN
        INSERT INTO journal_index SELECT * FROM unnest(j_leaf, j_until, j_grants);
    END IF;
    UPDATE log_head SET next_index = head_size, frontier = edge;
    verdict := 'appended';
    IF cardinality(r_grant) > 0 OR cardinality(j_leaf) = 0 THEN
        -- Hand-outs alone change no grant, and nobody waits for them. A payload has
        -- less than 8,000 bytes; an empty one says that anything may have changed.
        PERFORM pg_notify(
            'grantledger_' || current_schema(),
            CASE WHEN cardinality(r_grant) <= 200
                THEN array_to_string(r_grant, ',') ELSE '' END
        );
    END IF;
END
$body$;

-- Remember keys of the ring that the ledger does not know yet.
CREATE FUNCTION ledger_keep_key_checks(a_ids text[], a_values bytea[]) RETURNS void
LANGUAGE sql VOLATILE SECURITY DEFINER SET search_path FROM CURRENT AS $body$
    INSERT INTO key_checks SELECT * FROM unnest(a_ids, a_values)
        ON CONFLICT (key_id) DO NOTHING;
$body$;

CREATE FUNCTION ledger_keep_client(a_provider text, a_sealed bytea) RETURNS void
LANGUAGE sql VOLATILE SECURITY DEFINER SET search_path FROM CURRENT AS $body$
    INSERT INTO provider_clients VALUES (a_provider, a_sealed)
        ON CONFLICT (provider) DO UPDATE SET sealed = excluded.sealed;
$body$;

-- Destroy what opens a grant's sealed parts, and the parts; its leaves stay. Returns
-- how many parts were there. For maintenance, after Erased was appended; VACUUM frees
-- what is left on the disk.
CREATE FUNCTION ledger_erase(a_grant text) RETURNS bigint
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path FROM CURRENT AS $body$
DECLARE
    parts bigint;
BEGIN
    PERFORM * FROM ledger_lock();
    DELETE FROM data_keys WHERE grant_id = a_grant;
    DELETE FROM sealed WHERE grant_id = a_grant;
    GET DIAGNOSTICS parts = ROW_COUNT;
    RETURN parts;
END
$body$;

-- A function is everybody's unless it is taken from them.
REVOKE ALL ON ALL FUNCTIONS IN SCHEMA :schema FROM PUBLIC;
