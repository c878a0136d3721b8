-- Rows of current_grants as they were, one each time that a grant's version has passed
-- a multiple of 64: a grant as it was is made from the last of them and the events
-- after it. The code proves each. They go as soon as the grant is erased.
CREATE TABLE grant_states (
    grant_id text NOT NULL,
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
    PRIMARY KEY (grant_id, version)
);

CREATE FUNCTION ledger_keep_state() RETURNS trigger
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path FROM CURRENT AS $body$
BEGIN
    INSERT INTO grant_states VALUES (
        NEW.grant_id, NEW.version, NEW.leaf_index, NEW.provider, NEW.subject_digest,
        NEW.status, NEW.generation, NEW.due_at, NEW.modified_at, NEW.state, NEW.code
    )
    ON CONFLICT (grant_id, version) DO UPDATE SET leaf_index = excluded.leaf_index,
        provider = excluded.provider, subject_digest = excluded.subject_digest,
        status = excluded.status, generation = excluded.generation,
        due_at = excluded.due_at, modified_at = excluded.modified_at,
        state = excluded.state, code = excluded.code;
    RETURN NULL;
END
$body$;

CREATE FUNCTION ledger_forget_states() RETURNS trigger
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path FROM CURRENT AS $body$
BEGIN
    DELETE FROM grant_states WHERE grant_id = NEW.grant_id;
    RETURN NULL;
END
$body$;

CREATE TRIGGER grant_states_kept AFTER UPDATE ON current_grants FOR EACH ROW
    WHEN (NEW.version / 64 > OLD.version / 64 AND NEW.status <> 'erased')
    EXECUTE FUNCTION ledger_keep_state();
CREATE TRIGGER grant_states_erased AFTER UPDATE ON current_grants FOR EACH ROW
    WHEN (NEW.status = 'erased') EXECUTE FUNCTION ledger_forget_states();

-- A JWT's jti is found as well: the leaves until here are indexed once more. Locked, so
-- that no append comes between this and the next program's appends unseen.
UPDATE token_index_missing SET next_index = 0, end_index = h.next_index
    FROM (SELECT next_index FROM log_head FOR UPDATE) h;

REVOKE ALL ON ALL FUNCTIONS IN SCHEMA :schema FROM PUBLIC;
