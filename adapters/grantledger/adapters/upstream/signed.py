"""A JWT's signature and registered claims, checked with pinned algorithms.

What a token is allowed to be used for is decided by `verifier` (session tokens) and
`consent` (ID tokens); both start from the claims that this file lets through.
"""

from __future__ import annotations

import hmac
import math
from collections.abc import Collection, Mapping
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import jwt

from grantledger.adapters.upstream.config import SIGNING_ALGORITHMS
from grantledger.adapters.upstream.jwks import KeySet
from grantledger.domain.errors import InvalidSubjectToken
from grantledger.domain.values import MAX_SUBJECT_LENGTH

if TYPE_CHECKING:
    from grantledger.domain.ports import Clock

MAX_JWT_BYTES = 16 * 1024
_MAX_KID = 256
_LATEST = 253402300799  # 9999-12-31T23:59:59Z, the last second a datetime can name


class SignedTokens:
    """Checks JWTs of one issuer.

    Args:
        issuers: names that the one issuer is known by, each compared exactly; more
            than one where it writes the host that was asked into its tokens.
        keys: the issuer's.
        clock: the time that lifetimes are measured by.
        leeway_seconds: how far the server's clock may be from ours.
    """

    def __init__(
        self,
        issuers: Collection[str],
        keys: KeySet,
        clock: Clock,
        *,
        leeway_seconds: float = 30.0,
    ) -> None:
        self._issuers = sorted(issuers)
        self.keys = keys
        self._clock = clock
        self._leeway = leeway_seconds

    async def claims(
        self, token: str, *, audiences: Collection[str], types: Collection[str]
    ) -> Mapping[str, Any]:
        """Return the claims of a token that verifies.

        sub, iss, aud, exp and iat must be there. `exp` comes back as a number.

        Args:
            token: in compact form, at most 16 KiB.
            audiences: the token must be meant for one of them.
            types: accepted `typ` headers in lower case, "" for an absent one.

        Raises:
            InvalidSubjectToken: it does not verify.
            Unavailable: the keys could not be fetched.

        Source: RFC 8725 sections 3.1, 3.3, 3.8 to 3.12; RFC 7519 section 7.2.
        """
        algorithm, kid = signature_of(token, types)
        key = await self.keys.key(kid, algorithm)
        claims = _decoded(token, key, algorithm, self._issuers, audiences)
        self._check_times(claims)
        if not 0 < len(claims["sub"]) <= MAX_SUBJECT_LENGTH:
            raise InvalidSubjectToken("the token's sub is empty or too long")
        return claims

    def _check_times(self, claims: Mapping[str, Any]) -> None:
        now = self._clock.now().timestamp()
        if number(claims["exp"]) + self._leeway <= now:
            raise InvalidSubjectToken("the token has expired")
        if number(claims["iat"]) - self._leeway > now:
            raise InvalidSubjectToken("the token was issued in the future")
        if number(claims.get("nbf", 0)) - self._leeway > now:
            raise InvalidSubjectToken("the token is not valid yet")


def expiry(claims: Mapping[str, Any]) -> datetime:
    """Return `exp` as aware UTC; the year 9999 stands for anything later."""
    return datetime.fromtimestamp(min(number(claims["exp"]), _LATEST), UTC)


def text(claims: Mapping[str, Any], name: str) -> str | None:
    """Return a claim that is a non-empty string of at most 512 characters."""
    value = claims.get(name)
    if isinstance(value, str) and 0 < len(value) <= MAX_SUBJECT_LENGTH:
        return value
    return None


def same(left: str, right: str) -> bool:
    """Compare two strings in constant time."""
    return hmac.compare_digest(
        left.encode(errors="surrogatepass"), right.encode(errors="surrogatepass")
    )


def signature_of(token: str, types: Collection[str]) -> tuple[str, str | None]:
    """Return (algorithm, kid) that the token's header names; nothing is verified.

    Args:
        token: in compact form, at most 16 KiB.
        types: accepted `typ` headers in lower case, "" for an absent one.

    Raises:
        InvalidSubjectToken: it is no JWT, of another type, or its algorithm is not
            accepted.
    """
    header = _header(token)
    algorithm, kid = header.get("alg"), header.get("kid")
    if algorithm not in SIGNING_ALGORITHMS:
        raise InvalidSubjectToken("the token's algorithm is not accepted")
    if kid is not None and len(kid) > _MAX_KID:
        raise InvalidSubjectToken("the token's kid is too long")
    typ = header.get("typ", "")
    if not isinstance(typ, str) or (
        typ.lower().removeprefix("application/") not in types
    ):
        raise InvalidSubjectToken("the token is of a type not accepted here")
    return algorithm, kid


def _header(token: str) -> Mapping[str, Any]:
    header: Mapping[str, Any] | None = None
    if len(token) <= MAX_JWT_BYTES and token.isascii():
        try:
            # Refuses a kid that is no string, and critical extensions.
            header = jwt.get_unverified_header(token)
        except jwt.PyJWTError:
            header = None
    # Raised outside the handler: the library's text quotes parts of the token.
    if header is None:
        raise InvalidSubjectToken("the token is no JWT")
    return header


def _decoded(
    token: str,
    key: jwt.PyJWK,
    algorithm: str,
    issuers: list[str],
    audiences: Collection[str],
) -> Mapping[str, Any]:
    claims: Mapping[str, Any] | None = None
    try:
        claims = jwt.decode(
            token,
            key,
            algorithms=[algorithm],
            issuer=issuers,
            audience=list(audiences),
            options={
                "require": ["sub", "iss", "aud", "exp", "iat"],
                # The library would read the machine's clock; ours is passed in.
                "verify_exp": False,
                "verify_iat": False,
                "verify_nbf": False,
            },
        )
    except (jwt.PyJWTError, ValueError, TypeError, RecursionError) as cause:
        reason = type(cause).__name__
    else:
        return claims
    raise InvalidSubjectToken(f"the token does not verify: {reason}")


def number(value: object) -> float:
    """Return a time of a claim, in seconds since 1970.

    Raises:
        InvalidSubjectToken: it is no finite number.
    """
    if isinstance(value, int | float) and not isinstance(value, bool):
        number = float(min(value, _LATEST))
        if math.isfinite(number):
            return number
    raise InvalidSubjectToken("a time in the token is no number")
