-- When a worker looks after a grant that nobody asks for (microseconds since 1970;
-- NULL: never). Made from the grant's state; a row that is missing is made again with
-- ends_at 0, which says that somebody has to look. version is the grant's at which
-- the row was made.
CREATE TABLE upkeep (
    grant_id text PRIMARY KEY,
    version bigint NOT NULL,
    provider text NOT NULL,
    slot bigint NOT NULL,
    used_at bigint,
    keep_at bigint,
    ends_at bigint,
    retry_at bigint
);
CREATE INDEX upkeep_used ON upkeep (provider, slot, used_at) WHERE used_at IS NOT NULL;
CREATE INDEX upkeep_keep ON upkeep (provider, keep_at) WHERE keep_at IS NOT NULL;
CREATE INDEX upkeep_ends ON upkeep (ends_at) WHERE ends_at IS NOT NULL;

-- Which worker asks servers for a grant's revocations, and until when it is its alone.
-- No part of the record: without it, a server would be asked twice.
CREATE TABLE claims (
    grant_id text PRIMARY KEY,
    holder text NOT NULL,
    until timestamptz NOT NULL
);

-- Keep when grants are looked after; called in the statement of their append. One
-- element for each grant; what was made from a later version stays.
CREATE FUNCTION ledger_schedule(
    s_grant text[], s_version bigint[], s_provider text[], s_slot bigint[],
    s_used bigint[], s_keep bigint[], s_ends bigint[], s_retry bigint[]
) RETURNS void
LANGUAGE sql VOLATILE SECURITY DEFINER SET search_path FROM CURRENT AS $body$
    INSERT INTO upkeep AS u
        SELECT * FROM unnest(
            s_grant, s_version, s_provider, s_slot, s_used, s_keep, s_ends, s_retry
        )
        ON CONFLICT (grant_id) DO UPDATE SET version = excluded.version,
            slot = excluded.slot, used_at = excluded.used_at,
            keep_at = excluded.keep_at, ends_at = excluded.ends_at,
            retry_at = excluded.retry_at
        WHERE u.version <= excluded.version
            AND (u.slot, u.used_at, u.keep_at, u.ends_at, u.retry_at)
                IS DISTINCT FROM (excluded.slot, excluded.used_at, excluded.keep_at,
                    excluded.ends_at, excluded.retry_at);
$body$;

-- Make the rows that are missing of some grants, those after c_after; return how many,
-- and the last of the grants looked at, NULL at the end. The head is locked first, as
-- an append does: a portion holds up the appends for a moment, and never the reverse.
CREATE FUNCTION ledger_complete_schedule(
    c_after text, c_limit integer, OUT made bigint, OUT last text
)
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path FROM CURRENT AS $body$
BEGIN
    PERFORM * FROM ledger_lock();
    SELECT max(w.grant_id) INTO last FROM (
        SELECT g.grant_id FROM current_grants g
        WHERE g.grant_id > c_after ORDER BY g.grant_id LIMIT c_limit
    ) w;
    INSERT INTO upkeep (grant_id, version, provider, slot, ends_at)
        SELECT g.grant_id, 0, g.provider, 0, 0 FROM current_grants g
        WHERE g.grant_id > c_after AND g.grant_id <= last
            AND g.status IN ('active', 'refreshing')
            AND NOT EXISTS (SELECT 1 FROM upkeep u WHERE u.grant_id = g.grant_id)
        ON CONFLICT (grant_id) DO NOTHING;
    GET DIAGNOSTICS made = ROW_COUNT;
END
$body$;

-- Claim a grant's obligations for a while, by the server's time; tell whether they are
-- the holder's. A claim of its own is prolonged. Claims that ran out are forgotten.
CREATE FUNCTION ledger_claim(c_grant text, c_holder text, c_seconds double precision)
RETURNS boolean
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path FROM CURRENT AS $body$
DECLARE
    mine boolean;
BEGIN
    -- First its own row, then those that nobody holds: no two wait for each other.
    INSERT INTO claims AS c
        VALUES (c_grant, c_holder, clock_timestamp() + make_interval(secs => c_seconds))
        ON CONFLICT (grant_id) DO UPDATE
            SET holder = excluded.holder, until = excluded.until
            WHERE c.holder = excluded.holder OR c.until <= clock_timestamp();
    mine := FOUND;
    DELETE FROM claims WHERE grant_id IN (
        SELECT grant_id FROM claims
        WHERE until <= clock_timestamp() AND grant_id <> c_grant
        FOR UPDATE SKIP LOCKED
    );
    RETURN mine;
END
$body$;

REVOKE ALL ON ALL FUNCTIONS IN SCHEMA :schema FROM PUBLIC;
