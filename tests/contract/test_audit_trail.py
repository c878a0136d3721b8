"""The audit trail: every event and entry is a row, found by what it says."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from grantledger.adapters.ledger.stored_ledger import StoredLedger
from grantledger.domain.answers import RevocationConfirmed
from grantledger.domain.audit import (
    AuditFilter,
    AuditOutcome,
    AuditPosition,
    AuditRow,
)
from grantledger.domain.errors import IntegrityError, InvalidRequest, Unavailable
from grantledger.domain.journal import EntryPrivate
from grantledger.domain.pruning import prune
from grantledger.domain.user_grant import UserGrant
from grantledger.domain.values import (
    Actor,
    ErasureReason,
    Outcome,
    TokenFingerprint,
    TokenKind,
)
from tests.contract.stores import Store, opened
from tests.ledger.scene import (
    ACTOR,
    RULES,
    answered,
    ctx,
    denial,
    hand_out,
    intended,
    mark,
    new_grant,
    revoked,
)


async def redeemed(ledger: StoredLedger, subject: str = "alice") -> UserGrant:
    """Store a consent and a redemption."""
    grant = new_grant(subject, refresh=f"{subject}-rt1")
    await ledger.append(grant)
    draft, intent = intended(grant.fork())
    await ledger.append(draft)
    draft = answered(draft.fork(), intent, f"{subject}-rt2", f"{subject}-at2")
    await ledger.append(draft)
    return draft.fork()


async def lived(ledger: StoredLedger, subject: str = "alice") -> UserGrant:
    """Store a consent, a redemption, a hand-out, a denial and a revocation."""
    grant = await redeemed(ledger, subject)
    agent = Actor("agent-7", act_chain=("agent-8",), peer_ip="198.51.100.4")
    await ledger.record(hand_out(grant, token_ref=4, private=EntryPrivate(actor=agent)))
    await ledger.record(denial(private=EntryPrivate(actor=ACTOR, subject=subject)))
    draft = revoked(grant)
    await ledger.append(draft)
    return draft.fork()


async def every(ledger: StoredLedger, wanted: AuditFilter) -> list[AuditRow]:
    rows: list[AuditRow] = []
    after: AuditPosition | None = None
    while True:
        page = await ledger.audit(wanted, after=after, limit=2)
        rows += page.rows
        after = page.after
        if after is None:
            return rows


async def names(ledger: StoredLedger, **wanted: Any) -> list[str]:  # noqa: ANN401 - of its field
    return [row.event for row in await every(ledger, AuditFilter(**wanted))]


async def test_every_event_and_entry_is_a_row_in_the_order_of_the_log(
    ledger: StoredLedger,
) -> None:
    grant = await lived(ledger)
    rows = await every(ledger, AuditFilter())
    assert [row.event for row in rows] == [
        "Provisioned",
        "RedemptionIntended",
        "Rotated",
        "Exchanged",
        "HandedOut",
        "Denied",
        "Revoked",
    ]
    assert [row.at.leaf_index for row in rows] == list(range(7))
    assert {row.grant_id for row in rows} == {grant.id, None}
    assert {row.subject for row in rows} == {"alice"}


async def test_a_hand_out_tells_of_its_token(ledger: StoredLedger) -> None:
    await lived(ledger)
    (row,) = await every(ledger, AuditFilter(event="HandedOut"))
    assert row.mark is not None
    assert row.mark.fingerprint == mark(TokenKind.ACCESS, "alice-at2")
    assert row.scopes == ("files.read",)
    assert row.actor is not None
    assert row.actor.peer_ip == "198.51.100.4"
    assert (row.caller, row.client_id, row.label) == ("scanner", "broker", "default")


async def test_a_token_names_the_one_that_it_came_from(ledger: StoredLedger) -> None:
    await lived(ledger)
    rows = await every(ledger, AuditFilter())
    parents = {r.event: r.parent.fingerprint for r in rows if r.parent}
    refresh = mark(TokenKind.REFRESH, "alice-rt1")
    assert parents == {"Rotated": refresh, "Exchanged": refresh}


FOUND: list[tuple[dict[str, Any], int]] = [
    ({"provider": "cloud", "subject": "alice"}, 7),
    ({"provider": "cloud", "subject": "alice", "label": "default"}, 6),
    ({"provider": "cloud", "subject": "nobody"}, 0),
    ({"caller": "scanner"}, 4),
    ({"actor": "agent-8"}, 2),
    ({"actor": "scanner"}, 14),
    ({"address": "198.51.100.4"}, 2),
    ({"address": "192.0.2.7"}, 12),
    ({"event": "Revoked"}, 2),
    ({"outcome": AuditOutcome.DENIED}, 2),
    ({"outcome": AuditOutcome.DENIED, "caller": "other"}, 0),
    ({"scope": "files.read"}, 8),
    ({"scope": "files"}, 0),
    ({"request_id": "req-1"}, 10),
    ({"fingerprint": mark(TokenKind.ACCESS, "alice-at2")}, 2),
    ({"fingerprint": mark(TokenKind.REFRESH, "bob-rt1")}, 4),
    ({"below": 3}, 3),
    ({"recorded_until": datetime(2020, 1, 1, tzinfo=UTC)}, 0),
    ({"recorded_from": datetime(2020, 1, 1, tzinfo=UTC)}, 14),
]


async def test_rows_are_found_by_what_they_say(ledger: StoredLedger) -> None:
    await lived(ledger)
    await lived(ledger, "bob")
    found = [
        (wanted, len(await every(ledger, AuditFilter(**wanted)))) for wanted, _ in FOUND
    ]
    assert found == FOUND


async def test_a_filter_that_matches_nothing_answers_in_bounded_work(
    ledger: StoredLedger,
) -> None:
    await lived(ledger)
    ledger.examined = 3
    page = await ledger.audit(AuditFilter(provider="other"))
    assert (page.rows, page.after) == ([], AuditPosition(2, -1))
    assert await every(ledger, AuditFilter(provider="other")) == []


async def test_several_that_bring_the_trail_up_store_each_row_once(
    store: Store,
) -> None:
    async with opened(store) as one, opened(store, node="node-2") as other:
        one.audited = other.audited = 1
        await lived(one)
        await asyncio.gather(*(r.complete_audit() for r in (one, other) * 2))
        assert len(await every(other, AuditFilter())) == 7
    counted = store.sql("SELECT count(*), max(leaf_index) FROM audit_rows")
    assert [tuple(row) for row in counted] == [(7, 6)]


async def test_the_trail_says_how_far_it_is_behind(ledger: StoredLedger) -> None:
    await lived(ledger)
    lag = await ledger.audit_lag()
    assert lag.leaves == 7
    assert lag.behind > timedelta()
    await ledger.complete_audit()
    lag = await ledger.audit_lag()
    assert (lag.leaves, lag.behind) == (0, timedelta())


async def test_a_row_that_was_changed_is_refused(
    ledger: StoredLedger, store: Store
) -> None:
    await lived(ledger)
    await ledger.complete_audit()
    store.sql("UPDATE audit_rows SET caller = 'other' WHERE event = 'HandedOut'")
    with pytest.raises(IntegrityError, match="leaf 4, entry 0"):
        await every(ledger, AuditFilter())


async def test_a_term_that_points_elsewhere_is_refused(
    ledger: StoredLedger, store: Store
) -> None:
    await lived(ledger)
    await ledger.complete_audit()
    store.sql("DELETE FROM audit_terms WHERE leaf_index = 6")
    store.sql(
        "INSERT INTO audit_terms SELECT side, 6, entry, term FROM audit_terms"
        " WHERE leaf_index = 4"
    )
    store.sql("UPDATE audit_terms SET entry = -1 WHERE leaf_index = 6")
    with pytest.raises(IntegrityError, match="leaf 6, entry -1"):
        await every(ledger, AuditFilter(actor="agent-8"))


async def test_an_erased_grants_rows_stay_and_are_found_by_nothing_personal(
    ledger: StoredLedger, store: Store
) -> None:
    grant = await lived(ledger)
    await ledger.complete_audit()
    draft = grant.fork()
    draft.erase(ctx(), reason=ErasureReason.USER_REQUEST, receipt="r-1")
    await ledger.append(draft)
    await ledger.complete_audit()
    await ledger.destroy(grant.id)
    rows = await every(ledger, AuditFilter(grant_id=grant.id))
    assert [row.event for row in rows][-1] == "Erased"
    assert {row.subject for row in rows} == {None}
    assert {row.mark for row in rows} == {None}
    assert rows[-1].actor == ACTOR
    assert await names(ledger, provider="cloud", subject="alice") == ["Denied"]
    assert await names(ledger, actor="agent-8") == []
    assert await names(ledger, address=ACTOR.peer_ip) == ["Denied", "Erased"]
    left = store.sql("SELECT DISTINCT leaf_index FROM audit_terms ORDER BY 1")
    assert [row[0] for row in left] == [5, 8]


async def test_what_is_erased_meanwhile_is_not_remembered_again(
    ledger: StoredLedger, store: Store
) -> None:
    grant = await lived(ledger)
    batch = await ledger.next_audit_batch(7)
    assert batch is not None
    draft = grant.fork()
    draft.erase(ctx(), reason=ErasureReason.USER_REQUEST, receipt="r-1")
    await ledger.append(draft)
    await ledger.destroy(grant.id)
    assert ledger.extend_audit(*batch)
    left = store.sql("SELECT DISTINCT leaf_index FROM audit_terms")
    assert [row[0] for row in left] == [5]


async def test_a_token_that_is_remembered_is_told_no_more_once_it_is_erased(
    ledger: StoredLedger, store: Store
) -> None:
    grant = await redeemed(ledger)
    await ledger.record(hand_out(grant, token_ref=4))
    await ledger.complete_audit()
    term = "SELECT DISTINCT leaf_index FROM audit_terms WHERE leaf_index >= 4"
    assert [row[0] for row in store.sql(term)] == [4]
    await ledger.record(hand_out(grant, token_ref=4, request_id="r2"))
    # Another process erases it; this one has not heard of it.
    draft = grant.fork()
    draft.erase(ctx(), reason=ErasureReason.USER_REQUEST, receipt="r-1")
    async with opened(store) as other:
        await other.append(draft)
        await other.destroy(grant.id)
    found = await ledger.next_audit_batch(await ledger.size())
    assert found is not None
    assert [t.entry for t in found[1].terms if t.grant_id == grant.id.hex] == []
    await ledger.complete_audit()
    rows = await every(ledger, AuditFilter(event="HandedOut"))
    assert [row.mark for row in rows] == [None, None]
    # Found is who erased it, and nothing else of the grant.
    (erased,) = await every(ledger, AuditFilter(event="Erased"))
    assert [row[0] for row in store.sql(term)] == [erased.at.leaf_index]


async def test_an_erasure_that_was_damaged_keeps_no_row_from_being_made(
    ledger: StoredLedger, store: Store
) -> None:
    grant = await redeemed(ledger)
    await ledger.record(hand_out(grant, token_ref=4, private=None))
    draft = grant.fork()
    draft.erase(ctx(), reason=ErasureReason.USER_REQUEST, receipt="r-1")
    await ledger.append(draft)
    await ledger.destroy(grant.id)
    newest = f"SELECT max({store.number}) FROM stored_events"  # noqa: S608 - a constant
    store.sql(
        "UPDATE stored_events SET leaf_hash = ?"  # noqa: S608 - constants
        f" WHERE {store.number} = ({newest})",
        bytes(32),
    )
    assert await ledger.complete_audit() == await ledger.size()
    found = await ledger.rebuild_audit(lambda _, __: None)
    assert found.differences == []
    events = store.sql("SELECT event FROM audit_rows ORDER BY leaf_index, entry")
    assert [row[0] for row in events][-1] == "Unreadable"


async def test_rows_are_the_same_whether_tokens_are_remembered_or_read(
    ledger: StoredLedger,
) -> None:
    grants = [await redeemed(ledger, subject) for subject in ("alice", "bob")]
    for number in range(6):
        grant = grants[number % 2]
        await ledger.record(hand_out(grant, token_ref=4, request_id=f"r{number}"))
        await ledger.complete_audit()
    found = await ledger.rebuild_audit(lambda _, __: None)
    assert (found.rows, found.differences) == (14, [])


async def test_asked_scopes_are_found_though_they_stand_nowhere_in_clear(
    ledger: StoredLedger, store: Store
) -> None:
    asked = EntryPrivate(scopes_asked=("very.secret",))
    await ledger.record(denial(private=asked))
    assert await names(ledger, scope="very.secret") == ["Denied"]
    assert [row[0] for row in store.sql("SELECT scopes FROM audit_rows")] == [""]


async def test_a_limit_out_of_bounds_is_refused(ledger: StoredLedger) -> None:
    with pytest.raises(InvalidRequest, match="limit is 0"):
        await ledger.audit(AuditFilter(), limit=0)


async def test_outcomes_nobody_knows_are_unknown(ledger: StoredLedger) -> None:
    entry = denial(outcome=Outcome.EXCHANGE_FAILED, reason="ambiguous")
    await ledger.record(entry)
    await ledger.record(replace(entry, request_id="r2", reason="invalid_scope"))
    found = [row.outcome for row in await every(ledger, AuditFilter())]
    assert found == [AuditOutcome.UNKNOWN, AuditOutcome.FAILED]


async def test_a_fingerprint_nobody_made_finds_nothing(ledger: StoredLedger) -> None:
    await lived(ledger)
    assert await names(ledger, fingerprint=TokenFingerprint("hmac-sha256:x:00")) == []


async def test_a_leaf_that_was_changed_later_is_refused(
    ledger: StoredLedger, store: Store
) -> None:
    await lived(ledger)
    await ledger.complete_audit()
    store.sql(f"UPDATE stored_events SET topic = 'x' WHERE {store.number} = 2")  # noqa: S608 - a constant
    with pytest.raises(IntegrityError, match="leaf 1: the columns"):
        await every(ledger, AuditFilter())


async def test_a_leaf_that_cannot_be_read_keeps_nobody_from_the_others(
    ledger: StoredLedger, store: Store
) -> None:
    await lived(ledger)
    store.sql(f"UPDATE stored_events SET topic = 'x' WHERE {store.number} = 2")  # noqa: S608 - a constant
    store.sql("DELETE FROM sealed WHERE leaf_index = 4")
    rows = await every(ledger, AuditFilter(event="Unreadable"))
    assert [row.at.leaf_index for row in rows] == [1, 4]
    assert {row.outcome for row in rows} == {AuditOutcome.UNKNOWN}
    assert "does not prove itself" in rows[0].what
    assert len(await every(ledger, AuditFilter())) == 7


async def test_a_consent_that_cannot_be_opened_keeps_nobody_from_the_grants_rows(
    ledger: StoredLedger, store: Store
) -> None:
    await lived(ledger)
    store.sql("DELETE FROM sealed WHERE leaf_index = 0 AND field = 'subject'")
    rows = await every(ledger, AuditFilter())
    assert [row.event for row in rows[:2]] == ["Unreadable", "RedemptionIntended"]
    handed_out = next(row for row in rows if row.event == "HandedOut")
    assert (handed_out.provider, handed_out.subject) == ("cloud", None)
    assert handed_out.mark is not None


async def test_pruned_leaves_leave_no_rows(ledger: StoredLedger, store: Store) -> None:
    await lived(ledger)
    ended = hand_out(new_grant(), grant_id=None, grant_version=0, token_ref=None)
    ended.expires_at = datetime.now(UTC) - timedelta(hours=1)
    await ledger.record(ended)
    await ledger.complete_audit()
    await prune(
        ledger,
        ledger,
        lambda: ctx(datetime.now(UTC)),
        before=datetime.now(UTC),
        outcomes=(),
        reason="old",
    )
    found = await names(ledger)
    assert "Denied" not in found
    assert found[-1] == "Pruned"
    left = store.sql("SELECT count(*) FROM audit_terms WHERE leaf_index = 5")
    assert left[0][0] == 0


async def test_what_is_pruned_meanwhile_gets_no_row(
    ledger: StoredLedger, store: Store
) -> None:
    await ledger.record(denial())
    batch = await ledger.next_audit_batch(1)
    assert batch is not None
    await prune(
        ledger,
        ledger,
        lambda: ctx(datetime.now(UTC)),
        before=datetime.now(UTC),
        outcomes=(),
        reason="old",
    )
    assert ledger.extend_audit(*batch)
    assert store.sql("SELECT count(*) FROM audit_rows")[0][0] == 0


async def test_an_obligation_tells_of_its_token_and_is_not_found_by_it(
    ledger: StoredLedger,
) -> None:
    grant = await lived(ledger)
    draft = grant.fork()
    owed = draft.state.open_obligations()[0]
    draft.revocation_answered(ctx(), RULES, owed.id, RevocationConfirmed())
    await ledger.append(draft)
    (row,) = await every(ledger, AuditFilter(event="UpstreamRevocationConfirmed"))
    assert row.mark is not None
    assert row.mark.fingerprint == owed.fingerprint
    assert row.facts["obligations"] == (owed.id,)
    found = await names(ledger, fingerprint=owed.fingerprint)
    assert "UpstreamRevocationConfirmed" not in found


async def test_a_trail_that_is_far_behind_says_so_and_comes_nearer(
    ledger: StoredLedger,
) -> None:
    await lived(ledger)
    ledger.audited, ledger.brought = 1, 2
    for left in (5, 3, 1):
        with pytest.raises(Unavailable, match=f"{left} leaves behind"):
            await ledger.audit(AuditFilter())
    page = await ledger.audit(AuditFilter())
    assert (len(page.rows), page.size) == (7, 7)
