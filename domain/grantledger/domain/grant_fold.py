"""Steps of the fold that several events share."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import datetime
from uuid import UUID

from grantledger.domain.event_base import GrantEvent
from grantledger.domain.grant_state import (
    MAX_CLOSED_OBLIGATIONS,
    MAX_LOST,
    GrantState,
    HeldAccessToken,
    HeldRefreshToken,
    Intent,
    Obligation,
    Sibling,
)
from grantledger.domain.values import (
    AbandonReason,
    GrantStatus,
    TokenFingerprint,
    TokenKind,
)


def status_after(state: GrantState, status: GrantStatus) -> GrantStatus:
    """Return `status`, unless the grant has ended: only consent undoes that."""
    if state.status in (GrantStatus.REVOKED, GrantStatus.ERASED):
        return state.status
    if status is GrantStatus.ACTIVE and state.intent is not None:
        return GrantStatus.REFRESHING
    return status


def live(state: GrantState, at: datetime) -> tuple[HeldAccessToken, ...]:
    """Return the access tokens that have not expired at `at`."""
    return tuple(t for t in state.access_tokens if t.expires_at > at)


def mark_of(
    state: GrantState,
    kind: TokenKind,
    token: str,
    fingerprint: Callable[[TokenKind, str], TokenFingerprint],
) -> TokenFingerprint:
    """Return the token's fingerprint: the one that the grant knows it by, if it does.

    A token that the server gives again after the key of fingerprints was rotated is
    the same token still.
    """
    held: list[HeldRefreshToken | Sibling | HeldAccessToken] = [*state.siblings]
    if state.refresh is not None:
        held.append(state.refresh)
    if kind is TokenKind.ACCESS:
        held = [*state.access_tokens, *state.late_access]
    for one in held:
        if one.token is not None and one.token.reveal() == token:
            return one.fingerprint
    for owed in state.obligations:
        if (owed.kind, owed.token) == (kind, token):
            return owed.fingerprint
    return fingerprint(kind, token)


def displaced(state: GrantState) -> tuple[Intent, ...]:
    """Return the unresolved intents once the current one is overtaken."""
    return (*state.displaced, state.intent) if state.intent else state.displaced


def resolve(state: GrantState, attempt_id: UUID | None) -> GrantState:
    """Return the state in which this attempt is no longer under way."""
    if attempt_id is None:
        return state
    if state.intent is not None and state.intent.attempt_id == attempt_id:
        return replace(state, intent=None)
    return replace(
        state,
        displaced=tuple(i for i in state.displaced if i.attempt_id != attempt_id),
        lost=tuple(i for i in state.lost if i.attempt_id != attempt_id),
    )


def owe(
    obligations: list[Obligation],
    event: GrantEvent,
    generation: int,
    token: tuple[TokenKind, str, TokenFingerprint],
    expires_at: datetime | None,
    *,
    lost: bool = False,
) -> None:
    """Add an obligation for the token, unless it is owed already or has expired."""
    kind, value, fingerprint = token
    if any(o.fingerprint == fingerprint and o.open for o in obligations):
        return
    if expires_at is not None and expires_at <= event.timestamp:
        return
    opened = sum(o.id.startswith(event.event_id.hex) for o in obligations)
    obligations.append(
        Obligation(
            id=f"{event.event_id.hex}.{opened}",
            kind=kind,
            fingerprint=fingerprint,
            token=value,
            generation=generation,
            opened_at=event.timestamp,
            expires_at=expires_at,
            next_try_at=event.timestamp,
            outcome_lost=lost,
        )
    )


def owe_all(
    state: GrantState, event: GrantEvent, keep: TokenFingerprint | None = None
) -> tuple[Obligation, ...]:
    """Return the obligations with one for each token that the grant holds."""
    owed = list(state.obligations)
    ambiguity = state.ambiguity
    # A refresh token's stated end may slide; only the server knows it is over.
    held: list[tuple[HeldRefreshToken | Sibling, int]] = []
    if state.refresh is not None:
        held.append((state.refresh, state.generation))
    held += [(s, s.generation or state.generation) for s in state.siblings]
    for refresh, generation in held:
        mark = refresh.fingerprint
        if mark != keep:
            token = (TokenKind.REFRESH, refresh.token.reveal(), mark)
            lost = ambiguity is not None and ambiguity.fingerprint == mark
            owe(owed, event, generation, token, None, lost=lost)
    for access in (*state.access_tokens, *state.late_access):
        if access.token is not None:
            token = (TokenKind.ACCESS, access.token.reveal(), access.fingerprint)
            generation = access.generation or state.generation
            owe(owed, event, generation, token, access.expires_at)
    return tuple(owed)


def outcome_lost(state: GrantState, intent: Intent) -> GrantState:
    """Return the state in which nobody knows what the server issued for `intent`."""
    return replace(
        state,
        lost=(*state.lost, intent)[-MAX_LOST:],
        obligations=tuple(
            replace(o, outcome_lost=True)
            if o.open and o.fingerprint == intent.fingerprint
            else o
            for o in state.obligations
        ),
    )


def close(
    state: GrantState,
    ids: tuple[str, ...],
    *,
    confirmed: bool,
    attempts: int,
    reason: AbandonReason | None = None,
    residual: float | None = None,
) -> GrantState:
    """Return the state with these obligations ended; old ended ones are dropped."""
    closed = tuple(
        replace(
            o,
            token=None,
            confirmed=confirmed,
            attempts=attempts,
            next_try_at=None,
            abandoned=reason,
            residual_exposure_seconds=residual,
        )
        if o.id in ids
        else o
        for o in state.obligations
    )
    done = [o for o in closed if not o.open][-MAX_CLOSED_OBLIGATIONS:]
    return replace(state, obligations=tuple(o for o in closed if o.open or o in done))
