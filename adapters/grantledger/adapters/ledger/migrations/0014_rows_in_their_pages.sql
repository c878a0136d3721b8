-- Rows of a grant have one to four thousand bytes. In a table WITHOUT ROWID whatever is
-- over a quarter of a page goes to a page of its own, one a row, most of it empty; in
-- these, several rows share a page. A state is kept every 8 versions, not every 64.
CREATE TABLE grants_in_pages (
    grant_id TEXT NOT NULL PRIMARY KEY,
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
    UNIQUE (provider, subject_digest)
);
INSERT INTO grants_in_pages SELECT grant_id, version, leaf_index, provider,
    subject_digest, status, generation, due_at, modified_at, state, code
    FROM current_grants;
DROP TABLE current_grants;
ALTER TABLE grants_in_pages RENAME TO current_grants;
CREATE INDEX current_grants_due ON current_grants (due_at) WHERE due_at IS NOT NULL;
CREATE INDEX current_grants_erased ON current_grants (grant_id) WHERE status = 'erased';
CREATE INDEX current_grants_status ON current_grants (provider, status, grant_id);

CREATE TABLE states_in_pages (
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
);
INSERT INTO states_in_pages SELECT grant_id, version, leaf_index, provider,
    subject_digest, status, generation, due_at, modified_at, state, code
    FROM grant_states;
DROP TABLE grant_states;
ALTER TABLE states_in_pages RENAME TO grant_states;
CREATE TRIGGER grant_states_kept AFTER UPDATE ON current_grants
WHEN NEW.version / 8 > OLD.version / 8 AND NEW.status <> 'erased'
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
