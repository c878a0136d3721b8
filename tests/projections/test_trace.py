"""What a token came from, led to and still opens, from its grant's history."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import timedelta
from typing import Any
from uuid import UUID

from grantledger.domain.event_base import GrantEvent
from grantledger.domain.journal import AccessEntry, AccessRecorded, EntryPrivate
from grantledger.domain.values import (
    Actor,
    ActorKind,
    Outcome,
    Source,
    TokenFingerprint,
    TokenKind,
)
from grantledger.projections.family_fold import family_of
from grantledger.projections.trace import GrantTrace, Life, TracedToken, matching, trace
from tests.domain.arrange import NOW, Case, consent, mark

R, A = TokenKind.REFRESH, TokenKind.ACCESS
LEAF = 100


def handed(ref: int | None, caller: str = "scanner", **said: object) -> AccessEntry:
    """A hand-out of the token that the event of this version recorded."""
    entry = AccessEntry(
        at=NOW,
        outcome=Outcome.HANDED_OUT,
        caller=caller,
        request_id="req-9",
        provider="cloud",
        grant_id=UUID(int=1),
        generation=1,
        token_ref=ref,
        source=Source.CACHED,
        expires_at=NOW + timedelta(hours=1),
    )
    return replace(entry, **said)  # type: ignore[arg-type] # fields of the entry


def by(address: str, agent: str = "job/1", chain: tuple[str, ...] = ()) -> EntryPrivate:
    actor = Actor("scanner", ActorKind.SERVICE, chain, address, agent)
    return EntryPrivate(actor=actor)


def traced(
    case: Case,
    *marks: TokenFingerprint,
    journal: tuple[AccessEntry, ...] = (),
    jti: str | None = None,
    ends_family: bool = False,
    since_minutes: float | None = None,
) -> GrantTrace:
    """Trace over the case's history, the journal's entries after it."""
    pairs: list[tuple[int, GrantEvent | AccessRecorded]] = list(enumerate(case.history))
    made: Any = AccessRecorded  # the library's metaclass hides its fields
    event: AccessRecorded = made(
        originator_id=UUID(int=2),
        originator_version=1,
        timestamp=NOW,
        event_id=UUID(int=3),
        node="node-1",
        entries=journal,
    )
    family = family_of([*pairs, (LEAF, event)])
    assert family is not None
    return trace(
        family,
        matching(family, marks, jti),
        case.at,
        ends_family=ends_family,
        since=None if since_minutes is None else NOW + timedelta(minutes=since_minutes),
    )


def marks(tokens: Sequence[TracedToken]) -> list[str]:
    """Return the tokens' own texts."""
    return [(one.token.fingerprint or "-").rpartition(":")[2] for one in tokens]


def rotated_twice() -> Case:
    case = Case(first=consent(access="at1"))
    case.rotated("rt2", "at2")
    case.rotated("rt3", "at3")
    return case


def test_an_access_token_came_from_the_refresh_tokens_before_it() -> None:
    found = traced(rotated_twice(), mark(A, "at3"))
    assert marks(found.traced) == ["at3"]
    assert marks(found.ancestors) == ["rt2", "rt1"]
    assert found.descendants == []


def test_a_refresh_token_led_to_its_successors_and_their_access_tokens() -> None:
    found = traced(rotated_twice(), mark(R, "rt1"))
    assert marks(found.descendants) == ["rt2", "at2", "rt3", "at3"]
    (token,) = found.traced
    assert token.life is Life.REPLACED
    assert [shown.came_to for shown in token.token.presented] == ["exchanged"]


def test_what_may_live_is_told_apart_from_what_is_over() -> None:
    case = rotated_twice()
    found = traced(case, mark(R, "rt1"))
    assert marks(found.live) == ["at2", "rt3", "at3"]
    assert (found.live_until, found.endless) == (None, True)
    case.wait(3601)
    lives = {
        (one.token.fingerprint or "").rpartition(":")[2]: one.life
        for one in traced(case, mark(R, "rt1")).descendants
    }
    assert lives["at2"] is Life.EXPIRED
    assert lives["rt3"] is Life.IN_USE


def test_a_token_that_the_server_confirmed_dead_lives_no_more() -> None:
    case = rotated_twice()
    case.revoked()
    before = traced(case, mark(R, "rt3"))
    assert [one.life for one in before.traced] == [Life.UNCONFIRMED]
    case.server_says("rt3")
    after = traced(case, mark(R, "rt3"))
    assert [one.life for one in after.traced] == [Life.CONFIRMED_DEAD]
    assert not after.must_end or "rt3" not in marks(after.must_end)


def test_holders_are_told_by_caller_chain_address_and_agent() -> None:
    case = rotated_twice()
    version = case.state.access_tokens[-1].version
    journal = (
        handed(version, private=by("10.0.0.1")),
        handed(version, private=by("10.0.0.1"), at=NOW + timedelta(minutes=1)),
        handed(
            version, private=by("203.0.113.9", "curl/8"), at=NOW + timedelta(minutes=2)
        ),
        handed(version, "mcp", private=by("10.0.0.2", chain=("agent", "alice"))),
    )
    every = traced(case, mark(R, "rt1"), journal=journal)
    assert [(h.address, h.times) for h in every.holders] == [
        ("10.0.0.1", 2),
        ("203.0.113.9", 1),
        ("10.0.0.2", 1),
    ]
    assert every.holders[0].last_at == NOW + timedelta(minutes=1)
    assert [hop.act_chain for hop in every.delegation] == [(), ("agent", "alice")]
    late = traced(case, mark(R, "rt1"), journal=journal, since_minutes=1.5)
    assert [h.agent for h in late.holders] == ["curl/8"]


def test_an_exchanged_token_hangs_on_the_session_token_by_its_jti() -> None:
    case = rotated_twice()
    journal = (
        handed(
            None,
            outcome=Outcome.EXCHANGE_INTENDED,
            source=None,
            private=EntryPrivate(jti="session-1"),
        ),
        handed(
            None,
            source=Source.EXCHANGED,
            audience="notes",
            scopes=("notes.read",),
            private=EntryPrivate(fingerprint=mark(A, "st1"), jti="issued-1"),
        ),
    )
    for by_jti in ("session-1", "issued-1"):
        found = traced(case, journal=journal, jti=by_jti)
        (token,) = found.traced
        assert (token.token.how, token.token.parent_jti) == ("exchanged", "session-1")
        assert found.reach.audiences == ("notes",)
        assert marks(found.must_end) == ["st1"]


def test_with_a_server_that_ends_families_the_refresh_token_is_enough() -> None:
    case = rotated_twice()
    every = traced(case, mark(R, "rt1"))
    assert marks(every.must_end) == ["at2", "rt3", "at3"]
    fewest = traced(case, mark(R, "rt1"), ends_family=True)
    assert marks(fewest.must_end) == ["rt3"]
    alone = traced(case, mark(A, "at3"), ends_family=True)
    assert marks(alone.must_end) == ["at3"]


def test_who_would_break_is_who_holds_or_was_handed_tokens() -> None:
    case = rotated_twice()
    versions = [t.version for t in case.state.access_tokens]
    journal = (handed(versions[0]), handed(versions[-1], "backup"))
    found = traced(case, mark(R, "rt1"), journal=journal)
    assert [(b.caller, b.live) for b in found.breaks] == [("backup", 1), ("scanner", 1)]
    case.wait(3601)
    nothing = traced(case, mark(A, "at2"), journal=journal)
    assert (nothing.must_end, nothing.breaks) == ([], ())


def test_a_live_refresh_token_can_still_obtain_what_consent_granted() -> None:
    case = rotated_twice()
    assert (
        traced(case, mark(R, "rt3")).reach.obtainable == case.state.provisioning.scopes
    )
    assert traced(case, mark(A, "at3")).reach.obtainable == ()


def test_another_consents_tokens_are_no_descendants() -> None:
    case = rotated_twice()
    case.consented(consent("rt9", "at9"))
    found = traced(case, mark(R, "rt1"))
    assert {"rt9", "at9"}.isdisjoint(marks(found.descendants))
    assert found.grant.generation == 2


def test_a_lost_answer_and_its_retry_are_told_of_the_token() -> None:
    case = rotated_twice()
    case.lost()
    (token,) = traced(case, mark(R, "rt3")).traced
    assert [shown.came_to for shown in token.token.presented] == ["ambiguous"]


def test_a_history_without_events_has_no_tokens() -> None:
    assert family_of([]) is None
