"""What a token was, came from, led to and still opens, asked of its grant's tokens.

Bounds are said as bounds: a hand-out that is recorded may not have arrived, and a
token that nobody has confirmed dead is counted as one that may live.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from grantledger.domain.grant_state import GrantState
from grantledger.domain.values import (
    ActorKind,
    Outcome,
    Scopes,
    TokenFingerprint,
    TokenKind,
)
from grantledger.projections.token_family import Family, FamilyToken, TokenId, Use


class Life(StrEnum):
    """Whether a token may still be taken, and why; see `MAY_LIVE`.

    `in_use` is the refresh token that is presented next, `aside` one that is kept to
    fall back on, `unconfirmed` one that ended here without the server's word.
    """

    IN_USE = "in_use"
    LIVE = "live"
    ASIDE = "aside"
    UNCONFIRMED = "unconfirmed"
    REPLACED = "replaced"
    EXPIRED = "expired"
    CONFIRMED_DEAD = "confirmed_dead"


MAY_LIVE = frozenset({Life.IN_USE, Life.LIVE, Life.ASIDE, Life.UNCONFIRMED})


@dataclass(frozen=True, slots=True)
class TracedToken:
    """A token and how it stands at the time of asking."""

    token: FamilyToken
    life: Life

    @property
    def may_live(self) -> bool:
        """Whether a server may still take it."""
        return self.life in MAY_LIVE


@dataclass(frozen=True, slots=True)
class Holder:
    """Who was handed tokens, as one caller, actor chain, address and user agent.

    Attributes:
        address, agent: of whoever asked the broker; the agent is untrusted.
        times: hand-outs, an upper bound on deliveries.
        live_until: when the last of these tokens ends, None where none may live.
        live: how many of the tokens may live.
    """

    caller: str
    actor: str | None
    kind: ActorKind | None
    act_chain: tuple[str, ...]
    address: str | None
    agent: str | None
    times: int
    first_at: datetime
    last_at: datetime
    live: int
    live_until: datetime | None


@dataclass(frozen=True, slots=True)
class Hop:
    """One step on which a token was passed on, with everybody who acted.

    Attributes:
        act_chain: whoever the caller acted for, outermost first (RFC 8693 section 4.1).
    """

    token: TokenId
    caller: str
    act_chain: tuple[str, ...]
    audience: str | None
    first_at: datetime


@dataclass(frozen=True, slots=True)
class Reach:
    """What tokens open, all of them together.

    Attributes:
        obtainable: scopes of the consent, where a refresh token may live that can
            still be redeemed for them.
    """

    scopes: Scopes
    audiences: tuple[str, ...]
    resources: tuple[str, ...]
    obtainable: Scopes


@dataclass(frozen=True, slots=True)
class Breaks:
    """A caller that loses something when the grant is revoked.

    Attributes:
        live: tokens that it holds now and that end.
        last_at: its newest hand-out of the present generation: it asks again, and is
            then refused.
    """

    caller: str
    live: int
    live_until: datetime | None
    last_at: datetime


@dataclass(frozen=True, slots=True)
class GrantTrace:
    """What is known of tokens of one grant.

    Attributes:
        grant: as it stands.
        traced: the tokens asked for.
        ancestors: what they came from, the nearest first.
        descendants: what came from them, in the order of the record.
        holders: of the traced tokens and their descendants, the first first.
        live: of these, what may still be taken.
        live_until: when the last of them ends; None: none may live, or one of them
            has no end that is known (`endless`).
        reuse: (leaf, time) at which a refresh token's reuse was suspected.
        must_end: the fewest tokens whose end at the server ends all that is live;
            `incident revoke --grant` asks for it.
        breaks: who loses what by a revocation of the grant; nobody where nothing is
            to be ended.
        read_after: of the leaves up to this one, only those were read that record what
            the grant then held; None where all were. `ancestors` end there, `reuse`
            begins there, and `breaks` counts hand-outs from there on.
    """

    grant: GrantState
    traced: Sequence[TracedToken]
    ancestors: Sequence[TracedToken]
    descendants: Sequence[TracedToken]
    holders: Sequence[Holder]
    live: Sequence[TracedToken]
    live_until: datetime | None
    endless: bool
    reach: Reach
    delegation: Sequence[Hop]
    reuse: Sequence[tuple[int, datetime]]
    must_end: Sequence[TracedToken]
    breaks: Sequence[Breaks]
    read_after: int | None = None


def trace(
    family: Family,
    chosen: Collection[TokenId] | None,
    now: datetime,
    *,
    ends_family: bool,
    since: datetime | None = None,
) -> GrantTrace:
    """Return what is known of some tokens of a grant.

    Args:
        family: all its tokens.
        chosen: which are asked for, None for all.
        now: aware UTC; what lives is judged by it.
        ends_family: the server ends all tokens of a consent with its refresh token.
        since: aware UTC; only hand-outs from then on are counted for the holders.
    """
    known = {
        one.id: TracedToken(one, life_of(one, family.state, now))
        for one in family.tokens.values()
    }
    traced = [one for one in known if chosen is None or one in chosen]
    down = _descendants(family, traced)
    concerned = [known[one] for one in (*traced, *down)]
    live = [one for one in concerned if one.may_live]
    ends = [one.token.expires_at for one in live]
    must_end = _fewest(live, ends_family=ends_family)
    return GrantTrace(
        grant=family.state,
        traced=[known[one] for one in traced],
        ancestors=[known[one] for one in _ancestors(family, traced)],
        descendants=[known[one] for one in down],
        holders=_holders(concerned, since),
        live=live,
        live_until=None
        if None in ends
        else max((end for end in ends if end is not None), default=None),
        endless=None in ends,
        reach=_reach(concerned, family.state),
        delegation=_hops(concerned),
        reuse=tuple(family.reuse),
        must_end=must_end,
        breaks=_broken(known.values(), family.state) if must_end else (),
        read_after=family.read_after,
    )


def life_of(token: FamilyToken, state: GrantState, now: datetime) -> Life:
    """Return how a token stands at a time, by what is known of its grant."""
    if token.confirmed_at is not None:
        return Life.CONFIRMED_DEAD
    if token.expires_at is not None and token.expires_at <= now:
        return Life.EXPIRED
    if token.id.kind is TokenKind.ACCESS:
        return Life.UNCONFIRMED if token.revoked_at else Life.LIVE
    return _refresh_life(token, state)


def _refresh_life(token: FamilyToken, state: GrantState) -> Life:
    refresh = state.refresh
    if refresh is not None and token.version == refresh.version:
        return Life.IN_USE
    if token.fingerprint in {s.fingerprint for s in state.siblings}:
        return Life.ASIDE
    spent = token.replaced_at is not None and token.revoked_at is None
    return Life.REPLACED if spent else Life.UNCONFIRMED


def matching(
    family: Family, marks: Collection[TokenFingerprint], jti: str | None = None
) -> list[TokenId]:
    """Return the tokens with one of these fingerprints, or with that `jti`.

    Of a session token that no grant holds, the tokens that it was exchanged for.
    """
    return [
        one.id
        for one in family.tokens.values()
        if one.fingerprint in marks
        or (jti is not None and jti in (one.jti, one.parent_jti))
    ]


def _ancestors(family: Family, some: Iterable[TokenId]) -> list[TokenId]:
    found: dict[TokenId, None] = {}
    begun = set(some)
    for one in begun:
        parent = family.tokens[one].parent
        while parent is not None and parent not in found:
            found[parent] = None
            parent = family.tokens[parent].parent
    return sorted(found.keys() - begun, reverse=True)


def _descendants(family: Family, some: Sequence[TokenId]) -> list[TokenId]:
    begun = set(some)
    seen = set(some)
    # A parent always stands before its children.
    for one in family.tokens.values():
        if one.parent in seen:
            seen.add(one.id)
    return sorted(seen - begun)


def _fewest(live: Sequence[TracedToken], *, ends_family: bool) -> list[TracedToken]:
    """Return the tokens whose end at the server is enough."""
    if not ends_family:
        return list(live)
    ended = {
        one.token.generation for one in live if one.token.id.kind is TokenKind.REFRESH
    }
    return [
        one
        for one in live
        if one.token.id.kind is TokenKind.REFRESH
        # An exchanged token is of the session's family, not of the consent's.
        or one.token.how == "exchanged"
        or one.token.generation not in ended
    ]


def _reach(some: Sequence[TracedToken], state: GrantState) -> Reach:
    tokens = [one.token for one in some]
    redeemable = any(
        one.may_live and one.token.id.kind is TokenKind.REFRESH for one in some
    )
    return Reach(
        scopes=tuple(sorted({s for token in tokens for s in token.scopes})),
        audiences=tuple(sorted({t.audience for t in tokens if t.audience})),
        resources=tuple(sorted({t.resource for t in tokens if t.resource})),
        obtainable=state.provisioning.scopes if redeemable else (),
    )


def _handed(token: FamilyToken, since: datetime | None = None) -> list[Use]:
    return [
        use
        for use in token.uses
        if use.outcome is Outcome.HANDED_OUT and (since is None or use.at >= since)
    ]


def _holders(some: Sequence[TracedToken], since: datetime | None) -> list[Holder]:
    uses = [(one, use) for one in some for use in _handed(one.token, since)]
    grouped: dict[tuple[object, ...], list[tuple[TracedToken, Use]]] = {}
    for one, use in sorted(uses, key=lambda pair: (pair[1].leaf_index, pair[1].entry)):
        actor = use.actor
        who = (
            (actor.id, actor.kind, actor.act_chain, actor.peer_ip, actor.user_agent)
            if actor
            else (None, None, (), None, None)
        )
        grouped.setdefault((use.caller, *who), []).append((one, use))
    return [_holder(pairs) for pairs in grouped.values()]


def _holder(pairs: Sequence[tuple[TracedToken, Use]]) -> Holder:
    first = pairs[0][1]
    actor = first.actor
    live = {one.token.id: one.token for one, _ in pairs if one.may_live}
    ends = [token.expires_at for token in live.values() if token.expires_at]
    return Holder(
        caller=first.caller,
        actor=actor.id if actor else None,
        kind=actor.kind if actor else None,
        act_chain=actor.act_chain if actor else (),
        address=actor.peer_ip if actor else None,
        agent=actor.user_agent if actor else None,
        times=len(pairs),
        first_at=min(use.at for _, use in pairs),
        last_at=max(use.at for _, use in pairs),
        live=len(live),
        live_until=max(ends, default=None),
    )


def _hops(some: Sequence[TracedToken]) -> list[Hop]:
    hops: dict[tuple[object, ...], Hop] = {}
    for one in some:
        for use in _handed(one.token):
            chain = use.actor.act_chain if use.actor else ()
            key = (one.token.id, use.caller, chain)
            hop = Hop(one.token.id, use.caller, chain, use.audience, use.at)
            hops.setdefault(key, hop)
    return list(hops.values())


def _broken(every: Iterable[TracedToken], state: GrantState) -> list[Breaks]:
    found: dict[str, list[tuple[TracedToken, Use]]] = {}
    for one in every:
        if one.may_live or one.token.generation == state.generation:
            for use in _handed(one.token):
                found.setdefault(use.caller, []).append((one, use))
    broken: list[Breaks] = []
    for caller, pairs in sorted(found.items()):
        live = {one.token.id: one.token for one, _ in pairs if one.may_live}
        ends = [token.expires_at for token in live.values() if token.expires_at]
        last = max(use.at for _, use in pairs)
        broken.append(Breaks(caller, len(live), max(ends, default=None), last))
    return broken
