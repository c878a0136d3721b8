-- What is taken once, and by nobody again: answers to a consent, security events. Only
-- a digest stands here; it may go when nothing would take it any more (until:
-- microseconds since 1970).
CREATE TABLE once (
    kind text NOT NULL,
    digest text NOT NULL,
    until bigint NOT NULL,
    PRIMARY KEY (kind, digest)
);
CREATE INDEX once_until ON once (until);

-- Take something for so many seconds, by the server's time; tell whether it was there
-- to be taken. What is over is forgotten.
CREATE FUNCTION ledger_once(o_kind text, o_digest text, o_seconds double precision)
RETURNS boolean
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path FROM CURRENT AS $body$
DECLARE
    now_at bigint := (extract(epoch FROM clock_timestamp()) * 1000000)::bigint;
    taken boolean;
BEGIN
    INSERT INTO once AS o
        VALUES (o_kind, o_digest, now_at + (o_seconds * 1000000)::bigint)
        ON CONFLICT (kind, digest) DO UPDATE SET until = excluded.until
            WHERE o.until <= now_at;
    taken := FOUND;
    -- Locked rows are left to whoever has them: no two wait for each other.
    DELETE FROM once WHERE (kind, digest) IN (
        SELECT kind, digest FROM once
        WHERE until <= now_at AND (kind, digest) <> (o_kind, o_digest)
        LIMIT 1000 FOR UPDATE SKIP LOCKED
    );
    RETURN taken;
END
$body$;

-- A function is everybody's unless it is taken from them.
REVOKE ALL ON FUNCTION ledger_once(text, text, double precision) FROM PUBLIC;
