"""Traces a token through the ledger: found by any key's fingerprint, or by its `jti`.

That it was asked for is on the record before anything of the answer leaves.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from grantledger.adapters.bootstrap.opened import OpenBroker
from grantledger.adapters.ledger.histories import Told
from grantledger.adapters.upstream.token_answer import MAX_JTI, token_jti
from grantledger.domain.audit_access import AuditUse
from grantledger.domain.bulk import MAX_FINGERPRINT_LENGTH
from grantledger.domain.errors import InvalidRequest
from grantledger.domain.fleet import MAX_PAGE, TokenPlace, check_text
from grantledger.domain.grant_state import GrantState
from grantledger.domain.requests import Caller
from grantledger.domain.values import Secret, TokenFingerprint
from grantledger.projections.family_fold import family_of
from grantledger.projections.token_family import Earlier
from grantledger.projections.trace import GrantTrace, matching, trace

LEAST_NEAR, MOST_NEAR = 16, 1_000_000
"""Events before a token: the exchange that it came from began among them, but for one
during which the grant had more."""


@dataclass(frozen=True, slots=True)
class Asked:
    """What is traced: one of these.

    Attributes:
        token: itself, of any kind; it never leaves this object.
        fingerprint: under any key of the ring.
        jti: of a JWT (RFC 7519 section 4.1.7).
        grant_id: all tokens of a grant.
        since: aware UTC; only hand-outs from then on are told of the holders.
        near: events of the grant before the token from which on its history is read,
            None for the whole; see `GrantTrace`. Not of all tokens of a grant: of
            those that came up before, some may live.

    Raises:
        InvalidRequest: none or several are said, or one is out of bounds.
    """

    token: Secret | None = None
    fingerprint: TokenFingerprint | None = None
    jti: str | None = None
    grant_id: UUID | None = None
    since: datetime | None = None
    near: int | None = None

    def __post_init__(self) -> None:
        """Refuse what is out of bounds."""
        said = (self.token, self.fingerprint, self.jti, self.grant_id)
        if sum(one is not None for one in said) != 1:
            raise InvalidRequest(
                "say one of: the token, its fingerprint, its jti, a grant", "token"
            )
        check_text("fingerprint", self.fingerprint, MAX_FINGERPRINT_LENGTH)
        check_text("jti", self.jti, MAX_JTI)
        if self.token is not None and not self.token.reveal():
            raise InvalidRequest("the token is empty", "token")
        if self.near is not None and self.grant_id is not None:
            raise InvalidRequest("near is said of a token, not of a grant", "near")
        if self.near is not None and not LEAST_NEAR <= self.near <= MOST_NEAR:
            raise InvalidRequest(
                f"near is {self.near}; from {LEAST_NEAR} to {MOST_NEAR}", "near"
            )

    @property
    def words(self) -> str:
        """What was asked, without what names a token."""
        near = "" if self.near is None else f", {self.near} events before it"
        return f"{self._what}{near}"

    @property
    def _what(self) -> str:
        if self.grant_id is not None:
            return f"all tokens of grant {self.grant_id}"
        if self.token is not None:
            return "a token, by itself"
        return "a token, by its fingerprint" if self.fingerprint else "a token, by jti"


@dataclass(frozen=True, slots=True)
class Traced:
    """What was found.

    Attributes:
        found_by: `fingerprint`, `jti` or `grant`; None where nothing was found. Who
            finds a token by a `jti` that it names itself has its signature checked.
        grants: one for each grant that knows it; usually one.
    """

    found_by: str | None
    grants: tuple[GrantTrace, ...]


async def trace_token(
    opened: OpenBroker,
    caller: Caller,
    asked: Asked,
    may: Callable[[GrantState], bool] = lambda _: True,
) -> Traced:
    """Return everything that is known of a token, recorded before.

    Args:
        opened: whose ledger is asked.
        caller: who asks; that it may is checked before.
        asked: what is traced.
        may: whether the caller may see a grant; others are as if they were not there.

    Raises:
        Unavailable: the record of this cannot be written, or the ledger not read.
    """
    ledger = opened.ledger
    marks: list[TokenFingerprint] = []
    jti = asked.jti
    places: list[TokenPlace] = []
    found_by, ids = "grant", [asked.grant_id] if asked.grant_id else []
    if asked.grant_id is None:
        found_by, places, marks, jti = await _looked_up(opened, asked)
        ids = [place.grant_id for place in places]
    seen: list[UUID] = []
    for grant_id in dict.fromkeys(ids):
        grant = await ledger.get(grant_id)
        if grant is not None and may(grant.state):
            seen.append(grant_id)
    access = opened.broker.audit_access
    for grant_id in seen:
        await access.record(caller, AuditUse.TRACE, asked.words, grant_id=grant_id)
    if not seen:
        await access.record(caller, AuditUse.TRACE, f"{asked.words}: not found")
    now = opened.clock.now()
    providers = opened.broker.env.providers

    def traced(
        told: Iterable[Told], earlier: Earlier | None = None
    ) -> GrantTrace | None:
        family = family_of(told, earlier)
        if family is None:
            return None
        chosen = None if asked.grant_id else matching(family, marks, jti)
        provider = providers.get(family.state.provider)
        return trace(
            family,
            chosen,
            now,
            ends_family=provider is not None and provider.rules.family_revocation,
            since=asked.since,
        )

    # In the thread that reads: others are answered meanwhile.
    made = [
        await ledger.over_history(grant_id, traced)
        # Of more places the newest are told: nobody knows the first.
        if asked.near is None or len(places) >= MAX_PAGE
        else await ledger.near(grant_id, _first(places, grant_id), asked.near, traced)
        for grant_id in seen
    ]
    found = tuple(one for one in made if one is not None)
    return Traced(found_by if found else None, found)


def _first(places: Sequence[TokenPlace], grant_id: UUID) -> int:
    """Return the leaf in which the token came up first in a grant's history."""
    return min(one.leaf_index for one in places if one.grant_id == grant_id)


async def _looked_up(
    opened: OpenBroker, asked: Asked
) -> tuple[str, list[TokenPlace], list[TokenFingerprint], str | None]:
    """Return how it was found, where, its fingerprints, and its `jti`."""
    ledger = opened.ledger
    jti = asked.jti
    marks: list[TokenFingerprint] = []
    if asked.fingerprint is not None:
        marks.append(asked.fingerprint)
    if asked.token is not None:
        marks += await ledger.fingerprints(asked.token.reveal())
    places: list[TokenPlace] = []
    for mark in marks:
        places += await ledger.find_fingerprint(mark)
    found_by = "fingerprint"
    if not places:
        if asked.token is not None:
            # Encoded anew, a JWT has another fingerprint and the same jti.
            jti = token_jti(asked.token.reveal())
        if jti is not None:
            found_by = "jti"
            places += await ledger.find_jti(jti)
    return found_by, places, marks, jti
