"""Who calls: a JWT of a configured issuer, or a client with a secret.

What a certificate or a Unix socket says stands in `edge`; any other header that a
proxy might set is not looked at. A caller's id is the issuer's configured name and its
claim, `idp:scanner`, or a configured client's id, which has no colon: no issuer can
name another's callers.
"""

from __future__ import annotations

import base64
import binascii
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from hashlib import sha256
from typing import Any
from urllib.parse import unquote_plus

import jwt
from argon2 import PasswordHasher

from grantledger.adapters.http.edge import Attempt, Edge
from grantledger.adapters.http.hashing import SecretHashes
from grantledger.adapters.http.unauthenticated import NotAuthenticatedError
from grantledger.adapters.settings import HttpSettings
from grantledger.adapters.upstream.acting import actors
from grantledger.adapters.upstream.signed import (
    MAX_JWT_BYTES,
    SignedTokens,
    expiry,
    text,
)
from grantledger.domain.delegation import ActingParty
from grantledger.domain.errors import InvalidSubjectToken
from grantledger.domain.ports import Clock
from grantledger.domain.requests import Caller
from grantledger.domain.values import MAX_NAME_LENGTH, MAX_SUBJECT_LENGTH, Secret

MAX_VERIFIED = 10_000
VERIFIED_SECONDS = 300.0
MAX_SECRET_LENGTH = 512
TYPES = frozenset({"at+jwt"})
JWT, CLIENT_SECRET = "jwt", "client_secret"
_BEARER = b"6:bearer:"
LAX_TYPES = frozenset({"at+jwt", "jwt", ""})

__all__ = [
    "Authenticator",
    "CallerIssuer",
    "Identity",
    "NotAuthenticatedError",
    "claimed_issuer",
]


@dataclass(frozen=True, slots=True)
class CallerIssuer:
    """An issuer of callers' tokens.

    Attributes:
        name: begins the ids of its callers.
        audience: the token must be meant for it: this broker.
        claim: that names the caller, such as `client_id` or `sub`.
        subject_claim: that names the user, where the tokens are users'.
        subject_providers: whose subjects those users are.
        types: accepted `typ` headers (RFC 9068 section 4).
    """

    name: str
    issuer: str
    tokens: SignedTokens
    audience: str
    claim: str = "client_id"
    types: frozenset[str] = TYPES
    subject_claim: str | None = None
    subject_providers: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class Identity:
    """Who calls.

    Attributes:
        id: of the caller, as the policy and the record name it.
        method: how that was proven.
        user: whose own token it brought, None for a service's.
        user_providers: the providers whose subject that is.
    """

    id: str
    method: str
    user: str | None = None
    user_providers: frozenset[str] = frozenset()
    party: ActingParty | None = None
    callers: dict[object, Caller] = field(
        default_factory=dict[object, Caller], repr=False, compare=False
    )
    """As described before, by what else their requests said; so many at most."""


class Authenticator:
    """Tells who calls.

    Verified tokens are remembered by hash, until they expire and for five minutes at
    most, so that a key that the issuer withdraws is not trusted for long.

    Args:
        clients: id to argon2 hash of its secret.
        edge: what else is known of a request, and how often one may try.
        hasher: verifies those.
    """

    def __init__(
        self,
        issuers: Sequence[CallerIssuer],
        clients: Mapping[str, str],
        clock: Clock,
        edge: Edge | None = None,
        hasher: PasswordHasher | None = None,
    ) -> None:
        self.edge = edge or Edge(HttpSettings(), clock.now)
        self._issuers = {issuer.issuer: issuer for issuer in issuers}
        self._clients = dict(clients)
        self._clock = clock
        self._hashes = SecretHashes(self._clients, hasher)
        self._verified: OrderedDict[bytes, tuple[Identity, datetime]] = OrderedDict()

    async def identity(
        self, authorization: str | None, attempt: Attempt | None = None
    ) -> Identity:
        """Return who calls with this header.

        Raises:
            RateLimited: too many attempts like this one proved nobody.
            NotAuthenticatedError: the header is missing, or proves nothing.
            Unavailable: the issuer's keys cannot be fetched now.
        """
        scheme, _, rest = (authorization or "").partition(" ")
        rest = rest.strip()
        if scheme.lower() == "bearer" and rest and self._issuers:
            return await self._bearer(rest, attempt)
        if scheme.lower() == "basic" and rest and self._clients:
            client_id, secret = _basic(rest)
            return await self.client(client_id, secret, attempt)
        raise NotAuthenticatedError("missing" if not rest else "invalid_request")

    def remembered(self, authorization: bytes) -> Identity | None:
        """Return whose token this is, where it was verified before; else None."""
        if authorization[:7].lower() != b"bearer ":
            return None
        marked = sha256(_BEARER + authorization[7:].strip()).digest()
        return self._remembered(marked, self._clock.now())

    async def client(
        self, client_id: str, secret: Secret, attempt: Attempt | None = None
    ) -> Identity:
        """Return the client with this secret (RFC 6749 section 2.3.1).

        Raises:
            NotAuthenticatedError: there is none.
            RateLimited: too many attempts like this one proved nobody.
            Unavailable: too many secrets are being compared.
        """
        known = client_id in self._clients
        marked = _mark(client_id, secret.reveal())
        now = self._clock.now()
        remembered = self._remembered(marked, now)
        if known and remembered is not None:
            return remembered
        if attempt is not None:
            attempt.looks(client_id if known else "")
        if not await self._hashes.matches(client_id, secret, marked):
            raise NotAuthenticatedError("invalid_client")
        party = ActingParty(client_id, subject=client_id, client_id=client_id)
        found = Identity(client_id, CLIENT_SECRET, party=party)
        self._remember(marked, found, now + timedelta(seconds=VERIFIED_SECONDS))
        return found

    async def _bearer(self, token: str, attempt: Attempt | None) -> Identity:
        now = self._clock.now()
        marked = _mark("bearer", token)
        remembered = self._remembered(marked, now)
        if remembered is not None:
            return remembered
        if attempt is not None:
            attempt.looks()
        try:
            issuer, claims, party = await self._verified_party(token)
        except InvalidSubjectToken:
            raise NotAuthenticatedError("invalid_token") from None
        found = Identity(party.name, JWT, *_user_of(issuer, claims), party)
        limit = now + timedelta(seconds=VERIFIED_SECONDS)
        self._remember(marked, found, min(expiry(claims), limit))
        return found

    async def actor(self, token: str) -> ActingParty:
        """Return the party that an actor token proves (RFC 8693 section 2.1).

        It is a token of a callers' issuer that is meant for this broker.

        Raises:
            InvalidSubjectToken: it does not verify.
            Unavailable: the issuer's keys cannot be fetched now.
        """
        _, _, party = await self._verified_party(token)
        return party

    async def _verified_party(
        self, token: str
    ) -> tuple[CallerIssuer, Mapping[str, Any], ActingParty]:
        # The issuer that it claims: that one's keys then decide.
        issuer = self._issuers.get(claimed_issuer(token) or "")
        if issuer is None:
            raise InvalidSubjectToken("no issuer that is known here")
        claims = await issuer.tokens.claims(
            token, audiences=(issuer.audience,), types=issuer.types
        )
        said = claims.get(issuer.claim)
        name = f"{issuer.name}:{said}"
        if not isinstance(said, str) or not said or not said.isprintable():
            raise InvalidSubjectToken(f"the token has no {issuer.claim}")
        if len(name) > MAX_NAME_LENGTH:
            raise InvalidSubjectToken(f"the token's {issuer.claim} is too long")
        client_id = text(claims, "client_id") or text(claims, "azp")
        subject = str(claims["sub"])
        party = ActingParty(name, subject, issuer.issuer, client_id, actors(claims))
        return issuer, claims, party

    def _remembered(self, marked: bytes, now: datetime) -> Identity | None:
        found = self._verified.get(marked)
        if found is None:
            return None
        if found[1] <= now:
            del self._verified[marked]
            return None
        return found[0]

    def _remember(self, marked: bytes, caller: Identity, until: datetime) -> None:
        self._verified[marked] = (caller, until)
        while len(self._verified) > MAX_VERIFIED:
            self._verified.popitem(last=False)


def _user_of(
    issuer: CallerIssuer, claims: Mapping[str, Any]
) -> tuple[str | None, frozenset[str]]:
    """Return whom the token speaks for, and at which providers."""
    if issuer.subject_claim is None:
        return None, frozenset()
    user = claims.get(issuer.subject_claim)
    if not isinstance(user, str) or not 0 < len(user) <= MAX_SUBJECT_LENGTH:
        return None, frozenset()
    return user, issuer.subject_providers


def claimed_issuer(token: str) -> str | None:
    """Return who a JWT says it is from, None where it says nothing.

    Not verified: it tells only whose keys have to decide.
    """
    claims: dict[str, Any] = {}
    if len(token) <= MAX_JWT_BYTES and token.isascii():
        try:
            claims = jwt.decode(token, options={"verify_signature": False})
        except (jwt.PyJWTError, ValueError, RecursionError):
            claims = {}
    issuer = claims.get("iss")
    return issuer if isinstance(issuer, str) else None


def _mark(kind: str, secret: str) -> bytes:
    return sha256(
        f"{len(kind)}:{kind}:{secret}".encode(errors="surrogatepass")
    ).digest()


def _basic(text: str) -> tuple[str, Secret]:
    """Return id and secret of a Basic header (RFC 6749 section 2.3.1)."""
    try:
        said = base64.b64decode(text, validate=True).decode("utf-8")
    except (binascii.Error, ValueError):
        raise NotAuthenticatedError("invalid_client") from None
    client_id, colon, secret = said.partition(":")
    if not colon or len(said) > MAX_SECRET_LENGTH:
        raise NotAuthenticatedError("invalid_client")
    return unquote_plus(client_id), Secret(unquote_plus(secret))
