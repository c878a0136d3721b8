"""Security event tokens (RFC 8417): verified, then read as far as grants go.

Events of CAEP and RISC that end sessions or trust in a credential are known; others
verify and are left alone. A refusal is one of RFC 8935's words. A token of another
kind is none of these: the type is checked (RFC 8725 section 3.11).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Any, cast

import jwt

from grantledger.adapters.upstream.jwks import KeySet
from grantledger.adapters.upstream.signed import number, signature_of
from grantledger.domain.errors import InvalidRequest, InvalidSubjectToken
from grantledger.domain.security_events import EventSubject, Happening
from grantledger.domain.values import MAX_SUBJECT_LENGTH

if TYPE_CHECKING:
    from grantledger.domain.ports import Clock

MAX_AGE = timedelta(days=7)
"""How long a transmitter may keep trying; what is older is refused."""
LEEWAY_SECONDS = 30.0
MAX_JTI_LENGTH = 200

_SCHEMAS = "https://schemas.openid.net/secevent"
SESSION_REVOKED = f"{_SCHEMAS}/caep/event-type/session-revoked"
CREDENTIAL_COMPROMISE = f"{_SCHEMAS}/risc/event-type/credential-compromise"
VERIFICATION = f"{_SCHEMAS}/ssf/event-type/verification"
HAPPENINGS = {
    SESSION_REVOKED: Happening.SESSION_REVOKED,
    CREDENTIAL_COMPROMISE: Happening.CREDENTIAL_COMPROMISE,
}
_TYPES = frozenset({"secevent+jwt"})
_MAX_EVENTS = 16


class EventRefused(InvalidRequest):
    """A token that is not taken; `err` is RFC 8935's word (section 2.4).

    Attributes:
        verified: its transmitter has signed it, and what it says is wrong.
    """

    def __init__(self, err: str, message: str, *, verified: bool = False) -> None:
        super().__init__(message, "event")
        self.err = err
        self.verified = verified


@dataclass(frozen=True, slots=True)
class SecurityEvent:
    """A token that verifies, before its subject is read.

    Attributes:
        jti: unique for the transmitter.
        happenings: those known here; empty where it concerns no grant.
    """

    jti: str
    happenings: frozenset[Happening]
    claims: Mapping[str, Any]

    def __repr__(self) -> str:
        """Show nothing of its subject."""
        return f"SecurityEvent(jti={self.jti!r}, happenings={self.happenings!r})"

    def subject(self) -> EventSubject:
        """Return whom it is about.

        Raises:
            EventRefused: `sub_id` names nobody in a format that is known here.
        """
        return _subject(self.claims.get("sub_id"))


class SecurityEventTokens:
    """Verifies the tokens of one transmitter."""

    def __init__(self, issuer: str, audience: str, keys: KeySet, clock: Clock) -> None:
        self._issuer = issuer
        self._audience = audience
        self._keys = keys
        self._clock = clock

    async def verified(self, token: str) -> SecurityEvent:
        """Return what a token says.

        Raises:
            EventRefused: it does not verify, or is not for this broker.
            Unavailable: the transmitter's keys cannot be fetched now.

        Source: RFC 8417 section 2.2, RFC 8935 section 2.
        """
        try:
            algorithm, kid = signature_of(token, _TYPES)
        except InvalidSubjectToken as cause:
            raise EventRefused("invalid_request", str(cause)) from None
        try:
            key = await self._keys.key(kid, algorithm)
        except InvalidSubjectToken as cause:
            raise EventRefused("invalid_key", str(cause)) from None
        claims = _signed(token, key, algorithm)
        if claims is None:
            raise EventRefused(
                "authentication_failed", "the token's signature does not verify"
            )
        if claims.get("iss") != self._issuer:
            raise EventRefused("invalid_issuer", "the token is of another issuer")
        audience = claims.get("aud")
        if audience != self._audience and not (
            isinstance(audience, list) and self._audience in audience
        ):
            raise EventRefused("invalid_audience", "the token is for another recipient")
        self._check_times(claims)
        return SecurityEvent(_jti(claims), _happenings(claims), claims)

    def _check_times(self, claims: Mapping[str, Any]) -> None:
        now = self._clock.now().timestamp()
        try:
            issued = number(claims.get("iat"))
            over = number(claims["exp"]) if "exp" in claims else None
        except InvalidSubjectToken as cause:
            raise _wrong(str(cause)) from None
        if issued - LEEWAY_SECONDS > now:
            raise _wrong("the token was issued in the future")
        if issued + MAX_AGE.total_seconds() <= now:
            raise _wrong(f"the token is older than {MAX_AGE.days} days")
        if over is not None and over + LEEWAY_SECONDS <= now:
            raise _wrong("the token has expired")


def _signed(token: str, key: jwt.PyJWK, algorithm: str) -> dict[str, Any] | None:
    try:
        claims: dict[str, Any] = jwt.decode(
            token,
            key,
            algorithms=[algorithm],
            # Each is checked by itself, for the word that RFC 8935 has for it.
            options={
                "verify_aud": False,
                "verify_iss": False,
                "verify_sub": False,
                "verify_jti": False,
                "verify_exp": False,
                "verify_iat": False,
                "verify_nbf": False,
            },
        )
    except (jwt.PyJWTError, ValueError, TypeError, RecursionError):
        return None
    return claims


def _jti(claims: Mapping[str, Any]) -> str:
    jti = claims.get("jti")
    if (
        not isinstance(jti, str)
        or not 0 < len(jti) <= MAX_JTI_LENGTH
        or not jti.isprintable()
    ):
        raise _wrong(f"jti must be a printable text of 1 to {MAX_JTI_LENGTH}")
    return jti


def _happenings(claims: Mapping[str, Any]) -> frozenset[Happening]:
    events = claims.get("events")
    if not isinstance(events, dict):
        raise _wrong("events must be an object")
    said = cast("dict[str, object]", events)
    if not 0 < len(said) <= _MAX_EVENTS:
        raise _wrong(f"events has {len(said)} members; the limit is 1 to {_MAX_EVENTS}")
    if not all(isinstance(payload, dict) for payload in said.values()):
        raise _wrong("the payload of an event must be an object")
    return frozenset(HAPPENINGS[uri] for uri in said if uri in HAPPENINGS)


def _subject(said: object) -> EventSubject:
    """Return the subject of an identifier (RFC 9493 section 3.2, SSF 1.0 section 3)."""
    if not isinstance(said, dict):
        raise _wrong("sub_id must be an object")
    named = cast("dict[str, object]", said)
    match named.get("format"):
        case "iss_sub":
            return EventSubject(_name(named, "sub"), _name(named, "iss"))
        case "opaque":
            return EventSubject(_name(named, "id"))
        case "complex":
            user = named.get("user")
            if not isinstance(user, dict):
                raise _wrong("sub_id has no user")
            inner = cast("dict[str, object]", user)
            if inner.get("format") == "complex":
                raise _wrong("the user of sub_id must be a simple subject")
            return _subject(inner)
        case _:
            raise _wrong("sub_id must be of format iss_sub, opaque or complex")


def _name(named: Mapping[str, object], member: str) -> str:
    value = named.get(member)
    if (
        not isinstance(value, str)
        or not 0 < len(value) <= MAX_SUBJECT_LENGTH
        or not value.isprintable()
    ):
        raise _wrong(
            f"{member} of sub_id must be a printable text of 1 to {MAX_SUBJECT_LENGTH}"
        )
    return value


def _wrong(message: str) -> EventRefused:
    return EventRefused("invalid_request", message, verified=True)
