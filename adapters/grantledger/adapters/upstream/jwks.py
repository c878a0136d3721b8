"""The server's public keys: fetched from its metadata's `jwks_uri`, nowhere else.

A key named by the token itself (`jku`, `x5u`, `jwk`) is never looked at (RFC 8725
section 3.10). Once the keys are too old they are not used: a key that the server
has withdrawn may be withdrawn for a reason.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Protocol, cast

import anyio
import jwt
from cryptography.hazmat.primitives.asymmetric import rsa

from grantledger.adapters.upstream import failures
from grantledger.adapters.upstream.config import SIGNING_ALGORITHMS, ServerConfig
from grantledger.adapters.upstream.discovery import ServerMetadata
from grantledger.adapters.upstream.http import BoundedHttp, HttpAnswer
from grantledger.domain.answers import UpstreamFailure
from grantledger.domain.errors import InvalidSubjectToken, Unavailable

if TYPE_CHECKING:
    from grantledger.domain.ports import Clock

JWKS_LIMIT_BYTES = 256 * 1024
MAX_KEYS = 64
REFETCH_SECONDS = 30.0
_RETRY_SECONDS = 5.0
_RSA_BITS = 2048
_OK = 200
_PUBLIC_PARTS: Mapping[str, tuple[str, ...]] = {
    "RSA": ("kty", "n", "e"),
    "EC": ("kty", "crv", "x", "y"),
}
_KEY_TYPES = {"RS256": "RSA", "PS256": "RSA", "ES256": "EC"}


class Locates(Protocol):
    """Says where a server's keys are."""

    async def metadata(self) -> ServerMetadata | UpstreamFailure:
        """Return the metadata, or why there is none."""
        ...


class KeysAt:
    """Says it of a server without metadata, whose operator has named the place."""

    def __init__(self, issuer: str, jwks_uri: str) -> None:
        nothing = dict.fromkeys(f.name for f in fields(ServerMetadata))
        said = {"issuer": issuer, "jwks_uri": jwks_uri, "iss_parameter": False}
        self._metadata = ServerMetadata(**{**nothing, **said})  # type: ignore[arg-type] # None or as said

    async def metadata(self) -> ServerMetadata:
        """Return what was said."""
        return self._metadata


@dataclass(frozen=True, slots=True)
class _Key:
    kid: str | None
    algorithm: str
    key: jwt.PyJWK


class KeySet:
    """Keeps the keys of one server: cached, one fetch at a time, rarely refetched.

    An unknown `kid` causes one refetch, at most one per 30 s: tokens with invented
    ones must not turn this process against the server.

    Args:
        again_seconds: a fetch that failed is not repeated before; for keys that
            anybody can make us ask for.
    """

    def __init__(
        self,
        config: ServerConfig,
        http: BoundedHttp,
        discovery: Locates,
        clock: Clock,
        *,
        again_seconds: float = 0.0,
    ) -> None:
        self._config = config
        self._http = http
        self._discovery = discovery
        self._clock = clock
        self._again_seconds = again_seconds
        self._lock = anyio.Lock()
        self._keys: list[_Key] = []
        self._fresh_until = 0.0
        self._next_refetch = 0.0
        self._next_fetch = 0.0
        self._loads = 0
        self._failure: str | None = None

    async def key(self, kid: str | None, algorithm: str) -> jwt.PyJWK:
        """Return the key that a token's header asks for.

        Args:
            kid: None stands for the only key of that algorithm.
            algorithm: RS256, PS256 or ES256.

        Raises:
            InvalidSubjectToken: the server publishes no such key.
            Unavailable: the keys could not be fetched.
        """
        fresh = self._clock.monotonic() < self._fresh_until
        found = self._find(kid, algorithm) if fresh else None
        if found is None:
            await self._load(self._loads)
            found = self._find(kid, algorithm)
        if found is None:
            raise InvalidSubjectToken("the token is signed with no published key")
        return found

    async def _load(self, known_loads: int) -> None:
        async with self._lock:
            now = self._clock.monotonic()
            fresh = now < self._fresh_until
            due = now >= (self._next_refetch if fresh else self._next_fetch)
            # Whoever waited for a load that ended meanwhile takes its outcome.
            if self._loads == known_loads and due:
                self._failure = await self._fetch()
                self._loads += 1
                now = self._clock.monotonic()
                self._next_fetch = now + self._again_seconds
                if fresh:
                    self._next_refetch = now + REFETCH_SECONDS
            if self._failure is not None:
                raise Unavailable(
                    f"the server's keys cannot be fetched: {self._failure}",
                    _RETRY_SECONDS,
                )

    async def _fetch(self) -> str | None:
        """Replace the keys; return a word for what went wrong, None when nothing."""
        with anyio.move_on_after(self._config.discovery_budget_seconds):
            metadata = await self._discovery.metadata()
            if not isinstance(metadata, ServerMetadata):
                return metadata.error
            if metadata.jwks_uri is None:
                return "no_jwks_uri"
            answer = await self._http.request(
                "GET",
                metadata.jwks_uri,
                budget_seconds=self._config.discovery_budget_seconds,
                headers={"Accept": "application/json, application/jwk-set+json"},
                body_limit_bytes=JWKS_LIMIT_BYTES,
                what="jwks",
            )
            if not isinstance(answer, HttpAnswer):
                return answer.error
            listed = (failures.read_object(answer.body) or {}).get("keys")
            if answer.status != _OK or not isinstance(listed, list):
                return f"status_{answer.status}"
            entries = cast("list[object]", listed)[:MAX_KEYS]
            self._keys = [key for entry in entries for key in _usable(entry)]
            now = self._clock.monotonic()
            self._fresh_until = now + self._config.metadata_ttl_seconds
            return None
        return "timeout"

    def _find(self, kid: str | None, algorithm: str) -> jwt.PyJWK | None:
        fitting = [
            held.key
            for held in self._keys
            if held.algorithm == algorithm and kid in {None, held.kid}
        ]
        # Without a kid only a single candidate is certain to be the one meant.
        return fitting[0] if len(fitting) == 1 else None


def _usable(entry: object) -> Iterator[_Key]:
    """Yield the entry once for each algorithm that it may verify (RFC 7517 4)."""
    if not isinstance(entry, dict):
        return
    jwk = cast("dict[str, object]", entry)
    if jwk.get("use", "sig") != "sig":
        return
    operations = jwk.get("key_ops", ["verify"])
    if not isinstance(operations, list) or "verify" not in operations:
        return
    kid = jwk.get("kid")
    if kid is not None and not isinstance(kid, str):
        return
    for algorithm in SIGNING_ALGORITHMS:
        kty = _KEY_TYPES[algorithm]
        if jwk.get("kty") != kty or jwk.get("alg", algorithm) != algorithm:
            continue
        # Only the public members: a private key published by mistake stays unread.
        public = {name: jwk.get(name) for name in _PUBLIC_PARTS[kty]}
        try:
            key = jwt.PyJWK(public, algorithm)
        except (jwt.PyJWTError, ValueError, TypeError, AttributeError):
            continue
        if isinstance(key.key, rsa.RSAPublicKey) and key.key.key_size < _RSA_BITS:
            continue
        yield _Key(kid, algorithm, key)
