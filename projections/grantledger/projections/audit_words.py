"""What each event of a grant says in plain words, and which token it is about."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from functools import singledispatch
from typing import Protocol, TypeAlias
from uuid import UUID

from grantledger.domain.event_base import GrantEvent
from grantledger.domain.grant_events import (
    AccessTokenEnded,
    Erased,
    Exchanged,
    LateAnswerKept,
    Provisioned,
    ReauthorizationRequired,
    RedemptionFailed,
    RedemptionIntended,
    Revoked,
    Rotated,
    UpstreamRevocationAbandoned,
    UpstreamRevocationConfirmed,
    UpstreamRevocationFailed,
)
from grantledger.domain.grant_state import GrantState
from grantledger.domain.values import (
    AbandonReason,
    FailureClass,
    Purpose,
    RotationReason,
    Scopes,
    TokenFingerprint,
    TokenKind,
)

Fact: TypeAlias = "str | int | float | bool | datetime | Sequence[str] | None"
SHORT = 8
_LETTERS = {TokenKind.REFRESH: "R", TokenKind.ACCESS: "A"}
_FLOWS = {"authorization_code": "browser"}
_ABANDONED = {
    AbandonReason.UNSUPPORTED: "the server has no revocation",
    AbandonReason.EXPIRED: "the token has expired by itself",
    AbandonReason.GAVE_UP: "the server did not confirm in time",
    AbandonReason.ERASED: "the grant was erased first",
    AbandonReason.UNKNOWN_EXPOSURE: "an answer was lost, so nobody can know",
}


@dataclass(frozen=True, slots=True)
class Mark:
    """A token, named by its keyed fingerprint."""

    kind: TokenKind
    fingerprint: TokenFingerprint

    @property
    def short(self) -> str:
        """The kind's letter and the first digits: enough to tell tokens apart."""
        return f"{_LETTERS[self.kind]}:{self.fingerprint.rpartition(':')[2][:SHORT]}"


@dataclass(frozen=True, slots=True)
class Telling:
    """What an event says to a reader."""

    what: str
    scopes: Scopes = ()
    token: Mark | None = None
    facts: Mapping[str, Fact] = field(default_factory=dict[str, Fact])


def moment(at: datetime, beside: datetime) -> str:
    """Return a UTC time, with its date where that differs from the one beside it."""
    return f"{at:%H:%M:%S}" if at.date() == beside.date() else f"{at:%Y-%m-%d %H:%M}"


def until(at: datetime | None, beside: datetime) -> str:
    """Return when a token ends, as the rest of a sentence; nothing when unknown."""
    return "" if at is None else f", until {moment(at, beside)}"


def spaced(word: str | None) -> str:
    """Return an enumerated word as people write it."""
    return (word or "no reason given").replace("_", " ")


def _refresh(fingerprint: TokenFingerprint) -> Mark:
    return Mark(TokenKind.REFRESH, fingerprint)


def _quoted(text: str | None) -> str:
    return f" “{text}”" if text else ""


class Earlier(Protocol):
    """What the events before one of them say of its grant."""

    @property
    def begun(self) -> bool:
        """Whether there are any."""
        ...

    def presented(self, attempt_id: UUID) -> TokenFingerprint | None:
        """Return the refresh token that an attempt without an end presents."""
        ...

    def held(self) -> TokenFingerprint | None:
        """Return the refresh token that the grant holds."""
        ...

    def owed(self, ids: tuple[str, ...]) -> list[Mark]:
        """Return the tokens that obligations are about, as far as known."""
        ...


class OfState:
    """What a grant's whole state says; None: it has not begun."""

    def __init__(self, state: GrantState | None) -> None:
        self._state = state

    @property
    def begun(self) -> bool:
        """Whether there is a state."""
        return self._state is not None

    def presented(self, attempt_id: UUID) -> TokenFingerprint | None:
        """Return the refresh token of an attempt that is not resolved."""
        intent = self._state.unresolved(attempt_id) if self._state else None
        return None if intent is None else intent.fingerprint

    def held(self) -> TokenFingerprint | None:
        """Return the current refresh token."""
        refresh = self._state.refresh if self._state else None
        return None if refresh is None else refresh.fingerprint

    def owed(self, ids: tuple[str, ...]) -> list[Mark]:
        """Return the tokens of these obligations."""
        known = self._state.obligations if self._state else ()
        return [Mark(o.kind, o.fingerprint) for o in known if o.id in ids]


@singledispatch
def tell(event: GrantEvent, before: Earlier) -> Telling:
    """Return what the event says, given the state before it."""
    raise TypeError(f"no words for {type(event).__name__} after {before!r}")


@tell.register
def _provisioned(event: Provisioned, before: Earlier) -> Telling:
    again = "again " if before.begun else ""
    how = _FLOWS.get(event.flow, event.flow)
    ends = until(event.refresh_expires_at, event.timestamp)
    return Telling(
        f"Consent stored {again}({how}), generation {event.generation}{ends}.",
        event.scopes,
        _refresh(event.fingerprint),
        {
            "generation": event.generation,
            "flow": event.flow,
            "client_id": event.client_id,
            "audience": event.audience,
            "resource": event.resource,
            "provisioned_at": event.provisioned_at,
            "refresh_expires_at": event.refresh_expires_at,
            "metadata": [f"{name}={value}" for name, value in event.metadata],
        },
    )


@tell.register
def _intended(event: RedemptionIntended, before: Earlier) -> Telling:  # noqa: ARG001 - one signature for all
    aim = "rotated" if event.purpose is Purpose.ROTATE else "redeemed"
    retry = " again, after a lost answer" if event.retry_of is not None else ""
    return Telling(
        f"About to be {aim}{retry}; leased for {event.lease_seconds:g} s.",
        event.scopes_asked,
        _refresh(event.fingerprint),
        {
            "attempt_id": str(event.attempt_id),
            "purpose": event.purpose,
            "generation": event.generation,
            "audience": event.audience,
            "resource": event.resource,
            "lease_expires_at": event.lease_expires_at,
            "retry_of": None if event.retry_of is None else str(event.retry_of),
        },
    )


@tell.register
def _rotated(event: Rotated, before: Earlier) -> Telling:  # noqa: ARG001 - one signature for all
    parent = event.parent_fingerprint
    spent = f"; {_refresh(parent).short} is spent" if parent else ""
    how = {
        RotationReason.REDEEMED: "Successor stored",
        RotationReason.LATE: "Adopted from a late answer",
        RotationReason.STORED: "Brought by the caller",
    }[event.reason]
    return Telling(
        f"{how}{spent}.",
        token=_refresh(event.fingerprint),
        facts={
            "attempt_id": None if event.attempt_id is None else str(event.attempt_id),
            "generation": event.generation,
            "reason": event.reason,
            "parent_fingerprint": parent,
            "expires_at": event.expires_at,
        },
    )


@tell.register
def _exchanged(event: Exchanged, before: Earlier) -> Telling:  # noqa: ARG001 - one signature for all
    how = {
        "authorization_code": "for the code",
        "refresh_token": "by refresh",
    }.get(event.grant_type, f"by {event.grant_type}")
    return Telling(
        f"Obtained {how}{until(event.expires_at, event.timestamp)}.",
        event.scopes,
        Mark(TokenKind.ACCESS, event.fingerprint),
        {
            "attempt_id": None if event.attempt_id is None else str(event.attempt_id),
            "generation": event.generation,
            "grant_type": event.grant_type,
            "scopes_asked": event.scopes_asked,
            "audience": event.audience,
            "resource": event.resource,
            "expires_at": event.expires_at,
            "jti": event.jti,
            "refresh_kept": event.refresh_kept,
        },
    )


@tell.register
def _failed(event: RedemptionFailed, before: Earlier) -> Telling:
    if event.failure is FailureClass.AMBIGUOUS:
        words = "Sent, and no answer came: nobody knows what became of it"
    elif not event.sent:
        words = "Nothing was sent"
    else:
        words = f"The server refused: {spaced(event.failure)}"
    mark = before.presented(event.attempt_id)
    wait = ""
    if event.retry_at is not None:
        wait = f" Not again before {moment(event.retry_at, event.timestamp)}."
    reason = ": ".join(filter(None, [event.error, event.description]))
    return Telling(
        f"{words}.{_quoted(reason)}{wait}",
        token=None if mark is None else _refresh(mark),
        facts={
            "attempt_id": str(event.attempt_id),
            "failure": event.failure,
            "sent": event.sent,
            "error": event.error,
            "description": event.description,
            "http_status": event.http_status,
            "retry_at": event.retry_at,
        },
    )


@tell.register
def _quarantined(event: ReauthorizationRequired, before: Earlier) -> Telling:
    held = before.held()
    return Telling(
        f"Needs consent again: {spaced(event.reason)}.{_quoted(event.evidence)}",
        token=None if held is None else _refresh(held),
        facts={
            "reason": event.reason,
            "evidence": event.evidence,
            "attempts": [str(attempt) for attempt in event.attempts],
        },
    )


@tell.register
def _revoked(event: Revoked, before: Earlier) -> Telling:
    held = before.held()
    ticket = f" Ticket {event.ticket}." if event.ticket else ""
    return Telling(
        f"Ended here ({spaced(event.reason)}); no hand-out from now on."
        f"{ticket}{_quoted(event.reason_text)}",
        token=None if held is None else _refresh(held),
        facts={
            "reason": event.reason,
            "reason_text": event.reason_text,
            "ticket": event.ticket,
        },
    )


@tell.register
def _access_ended(event: AccessTokenEnded, before: Earlier) -> Telling:  # noqa: ARG001 - one signature for all
    owed = ", to be revoked" if event.owed else ""
    return Telling(
        f"Handed out no more ({spaced(event.reason)}){owed}; the grant lives on.",
        token=Mark(TokenKind.ACCESS, event.fingerprint),
        facts={
            "generation": event.generation,
            "token_ref": event.token_ref,
            "owed": event.owed,
            "reason": event.reason,
        },
    )


@tell.register
def _late(event: LateAnswerKept, before: Earlier) -> Telling:  # noqa: ARG001 - one signature for all
    fate = "to be revoked" if event.owed else "kept aside"
    mark = event.fingerprint
    return Telling(
        f"An answer came after its attempt was over; its tokens are {fate}.",
        token=None if mark is None else _refresh(mark),
        facts={
            "attempt_id": str(event.attempt_id),
            "generation": event.generation,
            "owed": event.owed,
            "access_fingerprint": event.access_fingerprint,
        },
    )


@tell.register
def _confirmed(event: UpstreamRevocationConfirmed, before: Earlier) -> Telling:
    marks = before.owed(event.obligations)
    return Telling(
        f"Dead at the server: {_named(marks, event.obligations)}.",
        token=marks[0] if marks else None,
        facts={
            "obligations": event.obligations,
            "attempt": event.attempt,
            "http_status": event.http_status,
        },
    )


@tell.register
def _unconfirmed(event: UpstreamRevocationFailed, before: Earlier) -> Telling:
    marks = before.owed((event.obligation,))
    return Telling(
        f"The server did not confirm ({spaced(event.failure)}); "
        f"try {event.attempt + 1} at {moment(event.next_try_at, event.timestamp)}"
        f"{_exposure(event.residual_exposure_seconds)}.",
        token=marks[0] if marks else None,
        facts={
            "obligations": [event.obligation],
            "attempt": event.attempt,
            "failure": event.failure,
            "error": event.error,
            "http_status": event.http_status,
            "next_try_at": event.next_try_at,
            "residual_exposure_seconds": event.residual_exposure_seconds,
        },
    )


@tell.register
def _abandoned(event: UpstreamRevocationAbandoned, before: Earlier) -> Telling:
    marks = before.owed(event.obligations)
    return Telling(
        f"Not revoked at the server: {_ABANDONED[event.reason]}"
        f"{_exposure(event.residual_exposure_seconds)}.",
        token=marks[0] if marks else None,
        facts={
            "obligations": event.obligations,
            "attempt": event.attempt,
            "reason": event.reason,
            "residual_exposure_seconds": event.residual_exposure_seconds,
        },
    )


@tell.register
def _erased(event: Erased, before: Earlier) -> Telling:  # noqa: ARG001 - one signature for all
    return Telling(
        f"Erased ({spaced(event.reason)}), receipt {event.receipt}.",
        facts={"reason": event.reason, "receipt": event.receipt},
    )


def _named(marks: list[Mark], ids: tuple[str, ...]) -> str:
    return " and ".join(m.short for m in marks) or f"{len(ids)} tokens"


def _exposure(seconds: float | None) -> str:
    if seconds is None:
        return "; its end is not known"
    return f"; it may live {max(seconds, 0):.0f} s more" if seconds > 0 else ""
