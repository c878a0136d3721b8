-- When a worker looks after a grant that nobody asks for (microseconds since 1970;
-- NULL: never). Made from the grant's state; a row that is missing is made again with
-- ends_at 0, which says that somebody has to look. version is the grant's at which
-- the row was made.
CREATE TABLE upkeep (
    grant_id TEXT PRIMARY KEY,
    version INTEGER NOT NULL,
    provider TEXT NOT NULL,
    slot INTEGER NOT NULL,
    used_at INTEGER,
    keep_at INTEGER,
    ends_at INTEGER,
    retry_at INTEGER
) WITHOUT ROWID;
CREATE INDEX upkeep_used ON upkeep (provider, slot, used_at) WHERE used_at IS NOT NULL;
CREATE INDEX upkeep_keep ON upkeep (provider, keep_at) WHERE keep_at IS NOT NULL;
CREATE INDEX upkeep_ends ON upkeep (ends_at) WHERE ends_at IS NOT NULL;

-- Which worker asks servers for a grant's revocations, and until when it is its alone.
-- No part of the record: without it, a server would be asked twice.
CREATE TABLE claims (
    grant_id TEXT PRIMARY KEY,
    holder TEXT NOT NULL,
    until INTEGER NOT NULL
) WITHOUT ROWID;
