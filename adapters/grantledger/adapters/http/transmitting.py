"""Who may send security events: their keys, their secret, and what they lead to."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass

from grantledger.adapters.http.identity import Authenticator, NotAuthenticatedError
from grantledger.adapters.http.key_sets import close_all, key_set
from grantledger.adapters.settings import Settings
from grantledger.adapters.upstream.http import BoundedHttp
from grantledger.adapters.upstream.security_events import (
    EventRefused,
    SecurityEventTokens,
)
from grantledger.domain.ports import Clock
from grantledger.domain.security_events import EventSubject, Happening, Reaction
from grantledger.domain.values import Secret


@dataclass(frozen=True, slots=True)
class Transmitter:
    """One transmitter.

    Attributes:
        issuers: of the providers whose subjects it names, by the provider's name.
        reactions: what its events lead to.
        secrets: knows its secret, None where its signature alone counts.
    """

    name: str
    tokens: SecurityEventTokens
    issuers: Mapping[str, str]
    reactions: Mapping[Happening, Reaction]
    secrets: Authenticator | None = None

    async def check(self, authorization: str | None) -> None:
        """Refuse a request that does not bring the secret.

        Raises:
            EventRefused: it does not.
        """
        if self.secrets is None:
            return
        scheme, _, said = (authorization or "").partition(" ")
        secret = said.strip() if scheme.lower() == "bearer" else ""
        try:
            await self.secrets.client(self.name, Secret(secret))
        except NotAuthenticatedError:
            raise EventRefused(
                "authentication_failed", "the transmitter's secret is missing or wrong"
            ) from None

    def providers_of(self, subject: EventSubject) -> list[str]:
        """Return the providers that a subject is a user of.

        Raises:
            EventRefused: none.
        """
        found = [
            name
            for name, issuer in self.issuers.items()
            if subject.issuer in {None, issuer}
        ]
        if not found:
            raise EventRefused(
                "invalid_request",
                "the subject is of another issuer than the transmitter's providers",
                verified=True,
            )
        return found


@asynccontextmanager
async def transmitters(
    settings: Settings, clock: Clock
) -> AsyncGenerator[Mapping[str, Transmitter]]:
    """Yield them by name; on leaving, their connections are closed.

    Raises:
        ConfigurationError: a setting is wrong; `field` names it.
    """
    connections: list[BoundedHttp] = []
    made: dict[str, Transmitter] = {}
    try:
        for number, said in enumerate(settings.file.http.transmitters):
            at = f"http.transmitters[{number}]"
            keys = key_set(
                said, at, settings, clock, connections, jwks_uri=said.jwks_uri
            )
            hashed = said.secret_hash
            made[said.name] = Transmitter(
                name=said.name,
                tokens=SecurityEventTokens(said.issuer, said.audience, keys, clock),
                issuers={
                    name: settings.file.providers[name].issuer
                    for name in said.providers
                },
                reactions={
                    Happening.SESSION_REVOKED: Reaction(said.on_session_revoked),
                    Happening.CREDENTIAL_COMPROMISE: Reaction(
                        said.on_credential_compromise
                    ),
                },
                secrets=Authenticator([], {said.name: hashed}, clock)
                if hashed
                else None,
            )
        yield made
    finally:
        await close_all(connections)
