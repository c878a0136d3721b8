"""Security event tokens that this broker sends: made, signed, pushed.

One event is known: `session-revoked` of CAEP 1.0. A token has no `sub` and no `exp`;
`sub_id` names the user at its issuer and the grant as a session. Never a fingerprint.

Source: RFC 8417 (tokens), RFC 8935 (push), RFC 9493 (subjects), CAEP 1.0.
"""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field

import jwt
import msgspec
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey
from cryptography.hazmat.primitives.serialization import load_pem_private_key
from jwt.algorithms import RSAAlgorithm

from grantledger.adapters.upstream.http import BoundedHttp, TransportFailure
from grantledger.adapters.upstream.security_events import SESSION_REVOKED
from grantledger.domain.announcing import Notice, Told
from grantledger.domain.errors import ConfigurationError
from grantledger.domain.ports import Clock
from grantledger.domain.values import ActorKind, Secret

SECEVENT = "application/secevent+jwt"
ALGORITHM = "RS256"
MIN_KEY_BITS = 2048
PUSH_SECONDS = 20.0
MAX_ANSWER_BYTES = 16_384
MAX_DETAIL_LENGTH = 200
ACCEPTED = 202
REFUSED = 400

_INITIATORS = {
    ActorKind.USER: "user",
    ActorKind.ADMIN: "admin",
    ActorKind.SERVICE: "system",
    ActorKind.AGENT: "system",
    ActorKind.SYSTEM: "policy",
}
# RFC 8935 section 2.4, and what a receiver may say of one that it asked for.
_WORDS = frozenset(
    {
        "invalid_request",
        "invalid_key",
        "invalid_issuer",
        "invalid_audience",
        "authentication_failed",
        "access_denied",
    }
)


class _Refusal(msgspec.Struct):
    """What a receiver says (RFC 8935 section 2.3)."""

    err: str = ""
    description: str = ""


_REFUSAL = msgspec.json.Decoder(_Refusal)


class SetSigner:
    """Signs tokens with one RSA key, and publishes it.

    Args:
        pem: the private key, PKCS #8 or PKCS #1, not encrypted.
        issuer: of every token.

    Raises:
        ConfigurationError: it is no such key, or shorter than 2048 bits.
    """

    def __init__(self, pem: Secret, issuer: str, clock: Clock) -> None:
        try:
            key = load_pem_private_key(pem.reveal().encode(), password=None)
        except (ValueError, TypeError):
            key = None
        # Raised outside the handler: the parser's own message stays behind.
        if not isinstance(key, RSAPrivateKey) or key.key_size < MIN_KEY_BITS:
            raise ConfigurationError(
                f"no unencrypted PEM key for RS256 of {MIN_KEY_BITS} bits or more",
                "key_file",
            )
        self.issuer = issuer
        self._key = key
        self._clock = clock
        public = json.loads(RSAAlgorithm.to_jwk(key.public_key()))
        self.key_id = _thumbprint(public)
        self._public = {"kty": "RSA", "n": public["n"], "e": public["e"]}

    def keys(self) -> dict[str, object]:
        """Return the public key as a JWK set (RFC 7517 section 5)."""
        said = {"kid": self.key_id, "use": "sig", "alg": ALGORITHM}
        return {"keys": [self._public | said]}

    def token(self, notice: Notice, audience: str, issuers: Mapping[str, str]) -> str:
        """Return the notice as a token; two of one notice differ in `iat` alone.

        Args:
            notice: what the receiver is told.
            audience: the receiver, as it calls itself.
            issuers: of the providers, by name.
        """
        revoked_at = int(notice.revoked_at.timestamp())
        return jwt.encode(
            {
                "iss": self.issuer,
                "jti": notice.id,
                "iat": int(self._clock.now().timestamp()),
                "aud": audience,
                "txn": notice.request_id,
                "sub_id": _subject(notice, issuers),
                "events": {
                    SESSION_REVOKED: {
                        "event_timestamp": revoked_at,
                        "initiating_entity": _INITIATORS[notice.initiator],
                        "reason_admin": {"en": notice.reason},
                    }
                },
            },
            self._key,
            algorithm=ALGORITHM,
            headers={"typ": "secevent+jwt", "kid": self.key_id},
        )


@dataclass(frozen=True, slots=True)
class EventReceiver:
    """One receiver; implements `domain.announcing.Receiver`.

    Attributes:
        audience: as the receiver calls itself.
        providers: whose grants it is told of; empty for all.
        issuers: of the providers, by name.
        url: where tokens are pushed; None where the receiver polls.
        secret: sent as `Authorization: Bearer …`, None for none.
        caller: id of the caller that may poll, None where tokens are pushed.
    """

    name: str
    audience: str
    providers: frozenset[str]
    issuers: Mapping[str, str]
    signer: SetSigner
    url: str | None = None
    http: BoundedHttp | None = None
    secret: Secret | None = field(default=None, repr=False)
    caller: str | None = None

    @property
    def polls(self) -> bool:
        """Whether it asks by itself (RFC 8936)."""
        return self.url is None

    def token(self, notice: Notice) -> str:
        """Return the notice as a token for this receiver."""
        return self.signer.token(notice, self.audience, self.issuers)

    async def push(self, notice: Notice) -> Told:
        """Send the notice once; only 202 is an acknowledgement (RFC 8935 2.2)."""
        if self.url is None or self.http is None:
            return Told("not_pushed")
        headers = {"Content-Type": SECEVENT, "Accept": "application/json"}
        if self.secret is not None:
            headers["Authorization"] = f"Bearer {self.secret.reveal()}"
        answer = await self.http.request(
            "POST",
            self.url,
            budget_seconds=PUSH_SECONDS,
            headers=headers,
            content=self.token(notice).encode(),
            body_limit_bytes=MAX_ANSWER_BYTES,
            what="security_event",
        )
        if isinstance(answer, TransportFailure):
            return Told(answer.error)
        if answer.status == ACCEPTED:
            return Told()
        wait = answer.headers.get("retry-after", "")
        return Told(
            *refusal(answer.body if answer.status == REFUSED else b"", answer.status),
            retry_after=float(wait) if wait.isascii() and wait.isdigit() else None,
        )


def refusal(body: bytes, status: int) -> tuple[str, str | None]:
    """Return (word, detail) of a refusal; a word that nobody defined is `status_N`."""
    try:
        said = _REFUSAL.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError):
        said = _Refusal()
    word = said.err if said.err in _WORDS else f"status_{status}"
    return word, printable(said.description)


def printable(text: str) -> str | None:
    """Return a receiver's words, bounded, None where there are none to keep."""
    kept = "".join(c for c in text[:MAX_DETAIL_LENGTH] if c.isprintable())
    return kept or None


def _subject(notice: Notice, issuers: Mapping[str, str]) -> dict[str, object]:
    """Return whom it is about (RFC 9493 section 3.2.3, SSF 1.0 section 3.2)."""
    grant = {"format": "opaque", "id": str(notice.grant_id)}
    issuer = issuers.get(notice.provider)
    if notice.subject is None or issuer is None:
        return dict(grant)
    user = {"format": "iss_sub", "iss": issuer, "sub": notice.subject}
    return {"format": "complex", "user": user, "session": grant}


def _thumbprint(public: Mapping[str, str]) -> str:
    """Return the key's id: its JWK thumbprint (RFC 7638 section 3)."""
    text = json.dumps(
        {"e": public["e"], "kty": "RSA", "n": public["n"]}, separators=(",", ":")
    )
    digest = hashlib.sha256(text.encode()).digest()
    return base64.urlsafe_b64encode(digest).rstrip(b"=").decode()
