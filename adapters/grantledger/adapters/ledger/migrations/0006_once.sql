-- What is taken once, and by nobody again: answers to a consent, security events. Only
-- a digest stands here; it may go when nothing would take it any more (until:
-- microseconds since 1970).
CREATE TABLE once (
    kind TEXT NOT NULL,
    digest TEXT NOT NULL,
    until INTEGER NOT NULL,
    PRIMARY KEY (kind, digest)
) WITHOUT ROWID;
CREATE INDEX once_until ON once (until);
