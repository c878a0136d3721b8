-- The ledger as it began. Only stored_events, log_head, sealed and data_keys are
-- the record; every other table can be made again from them.
CREATE TABLE log_head (
    one INTEGER PRIMARY KEY CHECK (one = 1),
    next_index INTEGER NOT NULL,
    frontier BLOB NOT NULL
);
INSERT INTO log_head VALUES (1, 0, x'');

-- rowid = leaf index + 1, given by the appender: contiguous and in commit order.
-- state is the leaf: the very bytes that are hashed and replayed.
CREATE TABLE stored_events (
    rowid INTEGER PRIMARY KEY,
    originator_id TEXT NOT NULL,
    originator_version INTEGER NOT NULL,
    topic TEXT NOT NULL,
    state BLOB NOT NULL,
    leaf_hash BLOB NOT NULL,
    UNIQUE (originator_id, originator_version)
);

-- What leaves hold only the hash and the commitment of; entry is -1 for a field of
-- the event itself.
CREATE TABLE sealed (
    leaf_index INTEGER NOT NULL,
    entry INTEGER NOT NULL,
    field TEXT NOT NULL,
    grant_id TEXT NOT NULL,
    dek_id TEXT NOT NULL,
    ct BLOB NOT NULL,
    PRIMARY KEY (leaf_index, entry, field)
) WITHOUT ROWID;

CREATE TABLE data_keys (
    dek_id TEXT PRIMARY KEY,
    grant_id TEXT NOT NULL UNIQUE,
    kek_id TEXT NOT NULL,
    wrapped BLOB NOT NULL
) WITHOUT ROWID;

CREATE TABLE key_checks (
    key_id TEXT PRIMARY KEY,
    value BLOB NOT NULL
) WITHOUT ROWID;

CREATE TABLE meta (
    name TEXT PRIMARY KEY,
    value TEXT NOT NULL
) WITHOUT ROWID;

-- state is sealed under the grant's data key; code is a keyed MAC over the row.
CREATE TABLE current_grants (
    grant_id TEXT PRIMARY KEY,
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
) WITHOUT ROWID;
CREATE INDEX current_grants_due ON current_grants (due_at) WHERE due_at IS NOT NULL;

-- Which grants a journal event speaks of: their ids, 16 bytes each, one after the
-- other. One short row at the end of the table for each group commit; an index by
-- grant would touch a page a grant. live_until is the latest expiry of a token
-- handed out in it (microseconds since 1970, 0 for none).
CREATE TABLE journal_index (
    leaf_index INTEGER PRIMARY KEY,
    live_until INTEGER NOT NULL,
    grants BLOB NOT NULL
);
-- A revocation asks for what still lives; expiries grow, so this too grows at its end.
CREATE INDEX journal_index_live ON journal_index (live_until);

-- Dynamically registered clients, sealed (RFC 7591).
CREATE TABLE provider_clients (
    provider TEXT PRIMARY KEY,
    sealed BLOB NOT NULL
) WITHOUT ROWID;
