-- Random, of this log: a ledger that goes on after a restore gets a new one.
INSERT INTO meta VALUES ('incarnation', replace(gen_random_uuid()::text, '-', ''));
