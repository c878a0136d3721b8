-- Why nothing is appended any more, such as after a move; NULL while it is open.
ALTER TABLE log_head ADD COLUMN closed TEXT;

-- Random, of this log: a ledger that goes on after a restore gets a new one.
INSERT INTO meta VALUES ('incarnation', lower(hex(randomblob(16))));
