-- The audit trail: a row for each event and for each journal entry, made again from
-- the log at any time. There are two sides: one is live; the other is empty, or being
-- made anew. next_index: the leaves below it are in the side.
CREATE TABLE audit_position (
    side INTEGER PRIMARY KEY,
    live INTEGER NOT NULL,
    next_index INTEGER NOT NULL
);
INSERT INTO audit_position VALUES (0, 1, 0), (1, 0, 0);

-- What stands in a leaf in the clear, and nothing else: no erasure changes a row.
-- entry is -1 for an event, else the entry's number; times: microseconds since 1970.
CREATE TABLE audit_rows (
    side INTEGER NOT NULL,
    leaf_index INTEGER NOT NULL,
    entry INTEGER NOT NULL,
    recorded_at INTEGER NOT NULL,
    occurred_at INTEGER NOT NULL,
    grant_id TEXT,
    stream TEXT NOT NULL,
    stream_seq INTEGER NOT NULL,
    event TEXT NOT NULL,
    outcome TEXT NOT NULL,
    provider TEXT NOT NULL,
    caller TEXT,
    actor_kind TEXT,
    generation INTEGER NOT NULL,
    request_id TEXT NOT NULL,
    node TEXT NOT NULL,
    policy TEXT NOT NULL,
    reason TEXT,
    audience TEXT,
    scopes TEXT NOT NULL,
    expires_at INTEGER,
    PRIMARY KEY (side, leaf_index, entry)
) WITHOUT ROWID;
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
    side INTEGER NOT NULL,
    leaf_index INTEGER NOT NULL,
    entry INTEGER NOT NULL,
    term BLOB NOT NULL,
    PRIMARY KEY (side, leaf_index, entry, term)
) WITHOUT ROWID;
CREATE INDEX audit_terms_term ON audit_terms (side, term, leaf_index, entry);
