-- Which token is whose, by keyed fingerprint: written with the leaf that records it.
-- entry is -1 for an event of a grant, else the entry's number in its journal event.
-- The rows grow at the table's end; the fingerprints are found by the index.
CREATE TABLE token_index (
    leaf_index INTEGER NOT NULL,
    entry INTEGER NOT NULL,
    kind TEXT NOT NULL,
    fingerprint TEXT NOT NULL,
    grant_id TEXT NOT NULL,
    generation INTEGER NOT NULL,
    PRIMARY KEY (leaf_index, entry, kind)
) WITHOUT ROWID;
CREATE INDEX token_index_fingerprint ON token_index (fingerprint);

-- Leaves from before there was an index, next_index to end_index: not in it yet.
CREATE TABLE token_index_missing (
    one INTEGER PRIMARY KEY CHECK (one = 1),
    next_index INTEGER NOT NULL,
    end_index INTEGER NOT NULL
);
INSERT INTO token_index_missing SELECT 1, 0, next_index FROM log_head;
