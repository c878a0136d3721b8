"""Whatever is tried at once, by whomever: the log's order keeps the promises."""

from __future__ import annotations

from collections import deque
from contextlib import ExitStack

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from grantledger.adapters.ledger.units import AppendUnit, Batch, BatchVerdicts
from grantledger.domain.grant_events import RedemptionIntended
from grantledger.domain.journal import AccessEntry, AccessPruned, AccessRecorded
from grantledger.domain.ledger_events import LedgerEvent
from grantledger.domain.ports import AppendVerdict
from grantledger.domain.user_grant import UserGrant
from grantledger.domain.values import GrantStatus, Outcome
from tests.contract.stores import Store, proven
from tests.ledger.parts import FAILED, LOST, Parts
from tests.ledger.scene import (
    answered,
    denial,
    hand_out,
    intended,
    new_grant,
    revoked,
)

KINDS = ["hand out", "hand out", "intend", "answer", "revoke", "deny"]
UNITS = st.lists(st.tuples(st.sampled_from(KINDS), st.integers(0, 3)), max_size=6)
BATCHES = st.lists(
    st.tuples(UNITS, st.sampled_from(["", "", FAILED, LOST]), st.integers(0, 1)),
    min_size=1,
    max_size=12,
)


def _unit(kind: str, seen: UserGrant) -> AppendUnit | AccessEntry | None:
    """Return what a caller would decide on this view, None if nothing."""
    state = seen.state
    if kind == "deny":
        return denial(grant_id=seen.id)
    if kind == "revoke":
        return AppendUnit(revoked(seen)) if state.usable else None
    if kind == "hand out":
        return hand_out(seen) if state.usable else None
    if kind == "intend" and state.status is GrantStatus.ACTIVE:
        return AppendUnit(intended(seen)[0])
    if kind == "answer" and state.intent is not None:
        token = f"rt-{state.intent.attempt_id}"
        return AppendUnit(answered(seen, state.intent, token))
    return None


def _apply(p: Parts, work: Batch) -> BatchVerdicts:
    while True:
        try:
            return p.transaction.apply(work)
        except p.transaction.failures:
            continue


def _check(p: Parts, delivered: list[AccessEntry]) -> None:
    """Walk the log: each hand-out stands on the newest version, which is usable."""
    grant: UserGrant | None = None
    presented: list[str] = []
    recorded: list[str] = []
    for event in p.log():
        assert not isinstance(event, LedgerEvent | AccessPruned)
        if not isinstance(event, AccessRecorded):
            if isinstance(event, RedemptionIntended):
                presented.append(event.fingerprint)
            grant = event.mutate(grant)
            continue
        for entry in event.entries:
            assert grant is not None
            recorded.append(entry.request_id)
            if entry.outcome is Outcome.HANDED_OUT:
                assert entry.grant_version == grant.version
                assert grant.state.usable
    assert grant is not None
    assert p.grant(grant) == grant, "the row is what replay gives"
    assert len(presented) == len(set(presented)), "no token is presented twice"
    assert len(recorded) == len(set(recorded)), "nothing is recorded twice"
    assert {e.request_id for e in delivered} <= set(recorded)


# The store is emptied before each example.
@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(BATCHES)
def test_no_interleaving_hands_out_after_a_revocation(
    store: Store,
    batches: list[tuple[list[tuple[str, int]], str, int]],
) -> None:
    """Two writers, old views, commits that fail or lose their answer (F10, F14)."""
    with ExitStack() as stack:
        store.emptied()
        orders: deque[str] = deque()
        writers = [stack.enter_context(store.parts(orders)) for _ in range(2)]
        first = new_grant()
        writers[0].transaction.apply(Batch([AppendUnit(first)]))
        views = [first.fork()]
        delivered: list[AccessEntry] = []
        for units, order, writer in batches:
            made = [_unit(k, views[max(0, len(views) - 1 - age)]) for k, age in units]
            work = Batch(
                [u for u in made if isinstance(u, AppendUnit)],
                [u for u in made if isinstance(u, AccessEntry)],
            )
            orders.extend([order] if order else [])
            said = _apply(writers[writer], work)
            orders.clear()
            for unit, verdict in zip(work.appends, said.appends, strict=True):
                if verdict is AppendVerdict.COMMITTED:
                    assert isinstance(unit.grant, UserGrant)
                    views.append(unit.grant.fork())
            delivered += [
                e for e, kept in zip(work.entries, said.recorded, strict=True) if kept
            ]
        _check(writers[0], delivered)
        proven(store)
