-- What receivers of security events are still owed: one row for each revocation, gone
-- when it is acknowledged or given up. due_at: microseconds since 1970.
CREATE TABLE outbox (
    receiver text NOT NULL,
    leaf_index bigint NOT NULL,
    grant_id text NOT NULL,
    attempts integer NOT NULL,
    due_at bigint NOT NULL,
    PRIMARY KEY (receiver, leaf_index)
);
CREATE INDEX outbox_due ON outbox (receiver, due_at);

-- Up to which leaf each receiver's outbox has looked.
CREATE TABLE outbox_heads (
    receiver text PRIMARY KEY,
    next_index bigint NOT NULL
);

-- Owe a receiver the revocations of the next leaves; return how many leaves these were.
-- A new receiver is owed what is revoked from now on.
CREATE FUNCTION ledger_outbox_look(o_receiver text, o_limit integer) RETURNS bigint
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path FROM CURRENT AS $body$
DECLARE
    start bigint;
    till bigint;
BEGIN
    INSERT INTO outbox_heads SELECT o_receiver, h.next_index FROM log_head h
        ON CONFLICT (receiver) DO NOTHING;
    SELECT next_index INTO start FROM outbox_heads
        WHERE receiver = o_receiver FOR UPDATE;
    SELECT least(next_index, start + o_limit) INTO till FROM log_head;
    IF till <= start THEN
        RETURN 0;
    END IF;
    INSERT INTO outbox
        SELECT o_receiver, e.notification_id - 1,
            replace(e.originator_id::text, '-', ''), 0, 0
        FROM stored_events e
        WHERE e.notification_id > start AND e.notification_id <= till
            AND e.topic = 'grantledger.user-grant.revoked.v1'
        ON CONFLICT DO NOTHING;
    UPDATE outbox_heads SET next_index = till WHERE receiver = o_receiver;
    RETURN till - start;
END
$body$;

-- Count a try, where nobody has tried since it was due at that time.
CREATE FUNCTION ledger_outbox_lease(
    o_receiver text, o_leaf bigint, o_was bigint, o_due bigint, o_tries integer
) RETURNS boolean
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path FROM CURRENT AS $body$
BEGIN
    UPDATE outbox SET attempts = attempts + o_tries, due_at = o_due
        WHERE receiver = o_receiver AND leaf_index = o_leaf AND due_at = o_was;
    RETURN FOUND;
END
$body$;

-- Owe it no more.
CREATE FUNCTION ledger_outbox_done(o_receiver text, o_leaf bigint) RETURNS boolean
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path FROM CURRENT AS $body$
BEGIN
    DELETE FROM outbox WHERE receiver = o_receiver AND leaf_index = o_leaf;
    RETURN FOUND;
END
$body$;

-- A function is everybody's unless it is taken from them.
REVOKE ALL ON FUNCTION ledger_outbox_look(text, integer) FROM PUBLIC;
REVOKE ALL ON FUNCTION ledger_outbox_lease(text, bigint, bigint, bigint, integer)
    FROM PUBLIC;
REVOKE ALL ON FUNCTION ledger_outbox_done(text, bigint) FROM PUBLIC;
