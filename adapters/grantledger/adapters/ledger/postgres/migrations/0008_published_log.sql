-- The roots of full tiles (C2SP tlog-tiles), so that no proof reads many leaves:
-- level 1 holds one hash for each 256 leaves, level 2 one for each 256 of those.
CREATE TABLE log_nodes (
    level integer NOT NULL,
    number bigint NOT NULL,
    hash bytea NOT NULL,
    PRIMARY KEY (level, number)
);

-- Checkpoints that were published; each covers at least one leaf more than the one
-- before. at: microseconds since 1970.
CREATE TABLE checkpoints (
    origin text NOT NULL,
    size bigint NOT NULL,
    root bytea NOT NULL,
    at bigint NOT NULL,
    note text NOT NULL,
    PRIMARY KEY (origin, size)
);

-- What witnesses said of them: a line of the note. at: as the witness says.
CREATE TABLE cosignatures (
    origin text NOT NULL,
    size bigint NOT NULL,
    witness text NOT NULL,
    at bigint NOT NULL,
    line text NOT NULL,
    PRIMARY KEY (origin, size, witness)
);

-- Store roots of full tiles, from number n_first on; what is there stays.
CREATE FUNCTION ledger_log_nodes(n_level integer, n_first bigint, n_hashes bytea[])
RETURNS void
LANGUAGE sql VOLATILE SECURITY DEFINER SET search_path FROM CURRENT AS $body$
    INSERT INTO log_nodes
        SELECT n_level, n_first + t.n - 1, t.hash
        FROM unnest(n_hashes) WITH ORDINALITY AS t (hash, n)
        ON CONFLICT DO NOTHING;
$body$;

-- Publish a checkpoint, unless another replica did so meanwhile: the newest one of the
-- origin must be smaller, and older than p_gap microseconds or p_leaves leaves behind.
CREATE FUNCTION ledger_publish(
    p_origin text, p_size bigint, p_root bytea, p_at bigint, p_note text,
    p_gap bigint, p_leaves bigint
) RETURNS boolean
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path FROM CURRENT AS $body$
DECLARE
    newest checkpoints;
BEGIN
    -- Not the head's lock: nobody who appends waits for this.
    PERFORM pg_advisory_xact_lock(
        hashtextextended('grantledger publish ' || current_schema(), 0)
    );
    SELECT * INTO newest FROM checkpoints
        WHERE origin = p_origin ORDER BY size DESC LIMIT 1;
    IF FOUND AND (
        newest.size >= p_size
        OR (newest.at + p_gap > p_at AND newest.size + p_leaves > p_size)
    ) THEN
        RETURN false;
    END IF;
    INSERT INTO checkpoints VALUES (p_origin, p_size, p_root, p_at, p_note);
    RETURN true;
END
$body$;

-- Keep a witness's line under a published checkpoint.
CREATE FUNCTION ledger_cosigned(
    c_origin text, c_size bigint, c_witness text, c_at bigint, c_line text
) RETURNS void
LANGUAGE sql VOLATILE SECURITY DEFINER SET search_path FROM CURRENT AS $body$
    INSERT INTO cosignatures
        SELECT c_origin, c_size, c_witness, c_at, c_line FROM checkpoints
        WHERE origin = c_origin AND size = c_size
        ON CONFLICT DO NOTHING;
$body$;

-- A function is everybody's unless it is taken from them.
REVOKE ALL ON FUNCTION ledger_log_nodes(integer, bigint, bytea[]) FROM PUBLIC;
REVOKE ALL ON FUNCTION ledger_publish(
    text, bigint, bytea, bigint, text, bigint, bigint
) FROM PUBLIC;
REVOKE ALL ON FUNCTION ledger_cosigned(text, bigint, text, bigint, text) FROM PUBLIC;
