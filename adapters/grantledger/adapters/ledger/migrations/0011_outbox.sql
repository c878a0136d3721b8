-- What receivers of security events are still owed: one row for each revocation, gone
-- when it is acknowledged or given up. due_at: microseconds since 1970.
CREATE TABLE outbox (
    receiver TEXT NOT NULL,
    leaf_index INTEGER NOT NULL,
    grant_id TEXT NOT NULL,
    attempts INTEGER NOT NULL,
    due_at INTEGER NOT NULL,
    PRIMARY KEY (receiver, leaf_index)
) WITHOUT ROWID;
CREATE INDEX outbox_due ON outbox (receiver, due_at);

-- Up to which leaf each receiver's outbox has looked.
CREATE TABLE outbox_heads (
    receiver TEXT PRIMARY KEY,
    next_index INTEGER NOT NULL
) WITHOUT ROWID;
