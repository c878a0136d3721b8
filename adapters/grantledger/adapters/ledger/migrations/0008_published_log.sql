-- The roots of full tiles (C2SP tlog-tiles), so that no proof reads many leaves:
-- level 1 holds one hash for each 256 leaves, level 2 one for each 256 of those.
CREATE TABLE log_nodes (
    level INTEGER NOT NULL,
    number INTEGER NOT NULL,
    hash BLOB NOT NULL,
    PRIMARY KEY (level, number)
) WITHOUT ROWID;

-- Checkpoints that were published; each covers at least one leaf more than the one
-- before. at: microseconds since 1970.
CREATE TABLE checkpoints (
    origin TEXT NOT NULL,
    size INTEGER NOT NULL,
    root BLOB NOT NULL,
    at INTEGER NOT NULL,
    note TEXT NOT NULL,
    PRIMARY KEY (origin, size)
) WITHOUT ROWID;

-- What witnesses said of them: a line of the note. at: as the witness says.
CREATE TABLE cosignatures (
    origin TEXT NOT NULL,
    size INTEGER NOT NULL,
    witness TEXT NOT NULL,
    at INTEGER NOT NULL,
    line TEXT NOT NULL,
    PRIMARY KEY (origin, size, witness)
) WITHOUT ROWID;
