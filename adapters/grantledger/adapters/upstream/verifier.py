"""The TokenVerifier port: whose session token is this?

The answer is the verified `sub` and nothing else: a token without one is refused,
never read by `email` or `name` (known failures F21).
"""

from __future__ import annotations

from collections.abc import Collection
from typing import TYPE_CHECKING

from grantledger.adapters.upstream.acting import actors, may_act
from grantledger.adapters.upstream.jwks import KeySet
from grantledger.adapters.upstream.signed import SignedTokens, expiry, text
from grantledger.domain.answers import VerifiedSubject
from grantledger.domain.errors import ConfigurationError
from grantledger.domain.values import AccessToken, Scopes, parse_scopes

if TYPE_CHECKING:
    from grantledger.domain.ports import Clock

_ACCEPTED_TYPES = frozenset({"", "jwt", "at+jwt"})
_STRICT_TYPES = frozenset({"at+jwt"})


class JwksVerifier:
    """Verifies JWT access tokens against their issuer's published keys.

    Args:
        issuer: the public issuer, compared exactly.
        keys: the issuer's keys.
        clock: the time that lifetimes are measured by.
        audiences: the token must be meant for one of them; at least one.
        require_at_jwt: accept only tokens typed `at+jwt` (RFC 9068 section 4). Off
            by default, because many servers type their access tokens `JWT` or not
            at all.
        leeway_seconds: how far the server's clock may be from ours.
        inner_issuers: what the issuer calls itself towards this process, where an
            operator configured an internal host (`Locations.accepted_issuers`).
    """

    def __init__(
        self,
        issuer: str,
        keys: KeySet,
        clock: Clock,
        *,
        audiences: Collection[str],
        require_at_jwt: bool = False,
        leeway_seconds: float = 30.0,
        inner_issuers: Collection[str] = (),
    ) -> None:
        if isinstance(audiences, str) or not audiences or not all(audiences):
            raise ConfigurationError("audiences must name at least one", "audiences")
        self._audiences = tuple(audiences)
        self._types = _STRICT_TYPES if require_at_jwt else _ACCEPTED_TYPES
        self._tokens = SignedTokens(
            {issuer} | set(inner_issuers), keys, clock, leeway_seconds=leeway_seconds
        )

    async def verify(self, token: AccessToken) -> VerifiedSubject:
        """Return who the token speaks for.

        Raises:
            InvalidSubjectToken: it does not verify, or is opaque.
            Unavailable: the keys could not be fetched.
        """
        claims = await self._tokens.claims(
            token.reveal(), audiences=self._audiences, types=self._types
        )
        return VerifiedSubject(
            subject=str(claims["sub"]),
            expires_at=expiry(claims),
            scopes=_scopes(claims.get("scope")),
            client_id=text(claims, "client_id") or text(claims, "azp"),
            jti=text(claims, "jti"),
            may_act=may_act(claims),
            actors=actors(claims),
        )


def _scopes(value: object) -> Scopes:
    """Return the scopes; an unreadable claim grants none (RFC 9068 2.2.3)."""
    if not isinstance(value, str):
        return ()
    try:
        return parse_scopes(value)
    except ValueError:
        return ()
