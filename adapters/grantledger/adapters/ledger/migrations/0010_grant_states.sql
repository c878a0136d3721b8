-- Rows of current_grants as they were, one each time that a grant's version has passed
-- a multiple of 64: a grant as it was is made from the last of them and the events
-- after it. The code proves each. They go as soon as the grant is erased.
CREATE TABLE grant_states (
    grant_id TEXT NOT NULL,
    version INTEGER NOT NULL,
    leaf_index INTEGER NOT NULL,
    provider TEXT NOT NULL,
    subject_digest BLOB NOT NULL,
    status TEXT NOT NULL,
    generation INTEGER NOT NULL,
    due_at INTEGER,
    modified_at INTEGER NOT NULL,
    state BLOB NOT NULL,
    code BLOB NOT NULL,
    PRIMARY KEY (grant_id, version)
) WITHOUT ROWID;
CREATE TRIGGER grant_states_kept AFTER UPDATE ON current_grants
WHEN NEW.version / 64 > OLD.version / 64 AND NEW.status <> 'erased'
BEGIN
    INSERT OR REPLACE INTO grant_states VALUES (
        NEW.grant_id, NEW.version, NEW.leaf_index, NEW.provider, NEW.subject_digest,
        NEW.status, NEW.generation, NEW.due_at, NEW.modified_at, NEW.state, NEW.code
    );
END;
CREATE TRIGGER grant_states_erased AFTER UPDATE ON current_grants
WHEN NEW.status = 'erased'
BEGIN
    DELETE FROM grant_states WHERE grant_id = NEW.grant_id;
END;

-- A JWT's jti is found as well: the leaves until here are indexed once more.
UPDATE token_index_missing
    SET next_index = 0, end_index = (SELECT next_index FROM log_head);
