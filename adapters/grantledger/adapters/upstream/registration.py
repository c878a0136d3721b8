"""Dynamic client registration and its management (RFC 7591, RFC 7592).

A registered client has a life of its own, apart from every user's: Nextcloud's ends
after an hour. `needs_renewal` says in time that it does (known failures F33); when to
ask, and where to keep the answer, is for others to decide.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Literal

import msgspec

from grantledger.adapters.upstream import failures, urls
from grantledger.adapters.upstream.config import AuthMethod
from grantledger.adapters.upstream.discovery import Discovery
from grantledger.adapters.upstream.http import BoundedHttp, HttpAnswer
from grantledger.domain.answers import UpstreamFailure
from grantledger.domain.values import ClientSecret, FailureClass

if TYPE_CHECKING:
    from grantledger.domain.ports import Clock

_LIMIT_BYTES = 64 * 1024
_LATEST = 253402300799  # 9999-12-31T23:59:59Z, the last second a datetime can name
_FOUND = frozenset({200, 201})
_GONE = frozenset({200, 204})


@dataclass(frozen=True, slots=True)
class RegisteredClient:
    """A client as the server knows it.

    Attributes:
        secret: None for a public client or one with a key.
        expires_at: aware UTC; None when the secret never expires (0 on the wire).
        auth_method: as the server says; None when it does not say.
        registration_access_token: for managing the registration, None without.
        registration_client_uri: as the server named it, checked before every use.
    """

    client_id: str
    secret: ClientSecret | None
    expires_at: datetime | None
    issued_at: datetime | None
    auth_method: AuthMethod | None
    registration_access_token: ClientSecret | None
    registration_client_uri: str | None

    def needs_renewal(self, now: datetime, margin_seconds: float) -> bool:
        """Tell whether the client expires within the margin, or has expired."""
        if self.expires_at is None:
            return False
        return now + timedelta(seconds=margin_seconds) >= self.expires_at


class ClientRegistration:
    """Registers this broker at one server and keeps the registration.

    No method raises for what the server or the network does.
    """

    def __init__(self, http: BoundedHttp, discovery: Discovery, clock: Clock) -> None:
        self._http = http
        self._discovery = discovery
        self._clock = clock

    async def register(
        self,
        metadata: Mapping[str, object],
        *,
        budget_seconds: float,
        initial_access_token: ClientSecret | None = None,
    ) -> RegisteredClient | UpstreamFailure:
        """Register a new client (RFC 7591 section 3).

        Args:
            metadata: `redirect_uris` and whatever else is to be said.
            budget_seconds: the request, connect to last byte.
            initial_access_token: where the server asks for one.
        """
        server = await self._discovery.metadata()
        if isinstance(server, UpstreamFailure):
            return server
        if server.registration_endpoint is None:
            return failures.not_sent("no_endpoint", "", FailureClass.UNSUPPORTED)
        return await self._send(
            "POST",
            server.registration_endpoint,
            initial_access_token,
            metadata,
            budget_seconds,
        )

    async def read(
        self, client: RegisteredClient, *, budget_seconds: float
    ) -> RegisteredClient | UpstreamFailure:
        """Return the registration as it now is (RFC 7592 section 2.1)."""
        return await self._manage("GET", client, None, budget_seconds)

    async def update(
        self,
        client: RegisteredClient,
        metadata: Mapping[str, object],
        *,
        budget_seconds: float,
    ) -> RegisteredClient | UpstreamFailure:
        """Replace the client's metadata (RFC 7592 section 2.2).

        The server may answer with a new secret and a new registration access token;
        both replace the old ones.
        """
        said: dict[str, object] = {**metadata, "client_id": client.client_id}
        if client.secret is not None:
            said["client_secret"] = client.secret.reveal()
        return await self._manage("PUT", client, said, budget_seconds)

    async def delete(
        self, client: RegisteredClient, *, budget_seconds: float
    ) -> UpstreamFailure | None:
        """Give the registration up; None when it is gone (RFC 7592 section 2.3)."""
        found = self._management(client)
        if isinstance(found, UpstreamFailure):
            return found
        url, token = found
        answer = await self._request("DELETE", url, token, None, budget_seconds)
        if isinstance(answer, UpstreamFailure):
            return answer
        if answer.status in _GONE:
            return None
        return failures.of_answer(answer, self._clock.now(), (token.reveal(),))

    async def _manage(
        self,
        method: Literal["GET", "PUT"],
        client: RegisteredClient,
        metadata: Mapping[str, object] | None,
        budget_seconds: float,
    ) -> RegisteredClient | UpstreamFailure:
        found = self._management(client)
        if isinstance(found, UpstreamFailure):
            return found
        url, token = found
        return await self._send(method, url, token, metadata, budget_seconds, client)

    def _management(
        self, client: RegisteredClient
    ) -> tuple[str, ClientSecret] | UpstreamFailure:
        """Return where and with what the registration is managed.

        The URL came from the server, and a token goes there: it must be of an
        origin that an endpoint could be of.
        """
        token, uri = client.registration_access_token, client.registration_client_uri
        if token is None or uri is None:
            return failures.not_sent("not_managed", "", FailureClass.UNSUPPORTED)
        parts = urls.split(uri)
        locations = self._discovery.locations
        if parts is None or locations.objection(parts):
            return failures.not_sent(
                "registration_uri_refused",
                "registration_client_uri is of an origin that is not allowed",
                FailureClass.MISCONFIGURED,
            )
        return locations.inward(parts), token

    async def _send(
        self,
        method: str,
        url: str,
        token: ClientSecret | None,
        metadata: Mapping[str, object] | None,
        budget_seconds: float,
        known: RegisteredClient | None = None,
    ) -> RegisteredClient | UpstreamFailure:
        answer = await self._request(method, url, token, metadata, budget_seconds)
        if isinstance(answer, UpstreamFailure):
            return answer
        if answer.status in _FOUND:
            client = _read_client(failures.read_object(answer.body) or {}, known)
            if client is not None:
                return client
        secrets = [] if token is None else [token.reveal()]
        if known is not None and known.secret is not None:
            secrets.append(known.secret.reveal())
        return failures.of_answer(answer, self._clock.now(), secrets)

    async def _request(
        self,
        method: str,
        url: str,
        token: ClientSecret | None,
        metadata: Mapping[str, object] | None,
        budget_seconds: float,
    ) -> HttpAnswer | UpstreamFailure:
        headers: dict[str, str] = {}
        content = None
        if token is not None:
            if not all("!" <= c <= "~" for c in token.reveal()):
                # The header's encoder would quote it in its complaint.
                return failures.not_sent(
                    "unusable_token",
                    "the token has a character that no header may carry",
                    FailureClass.MISCONFIGURED,
                )
            headers["Authorization"] = f"Bearer {token.reveal()}"
        if metadata is not None:
            headers["Content-Type"] = "application/json"
            content = msgspec.json.encode(metadata)
        answer = await self._http.request(
            method,
            url,
            budget_seconds=budget_seconds,
            headers=headers,
            content=content,
            body_limit_bytes=_LIMIT_BYTES,
            what="registration",
        )
        if isinstance(answer, HttpAnswer):
            return answer
        return failures.of_transport(answer)


def _read_client(
    fields: Mapping[str, object], known: RegisteredClient | None
) -> RegisteredClient | None:
    """Return the client in an answer, None when there is none.

    What an answer about a known client leaves out stays as it was (RFC 7592
    section 3 lets a server rotate the token, and not repeat the secret).
    """
    client_id = _string(fields, "client_id")
    if client_id is None or (known is not None and known.client_id != client_id):
        return None
    before = known or RegisteredClient(client_id, None, None, None, None, None, None)
    secret = _string(fields, "client_secret")
    token = _string(fields, "registration_access_token")
    method = _string(fields, "token_endpoint_auth_method")
    return RegisteredClient(
        client_id=client_id,
        secret=ClientSecret(secret) if secret else before.secret,
        expires_at=(
            _time(fields, "client_secret_expires_at")
            if "client_secret_expires_at" in fields
            else before.expires_at
        ),
        issued_at=_time(fields, "client_id_issued_at") or before.issued_at,
        auth_method=(
            AuthMethod(method) if method in list(AuthMethod) else before.auth_method
        ),
        registration_access_token=(
            ClientSecret(token) if token else before.registration_access_token
        ),
        registration_client_uri=(
            _string(fields, "registration_client_uri") or before.registration_client_uri
        ),
    )


def _string(fields: Mapping[str, object], name: str) -> str | None:
    value = fields.get(name)
    return value if isinstance(value, str) and value else None


def _time(fields: Mapping[str, object], name: str) -> datetime | None:
    """Return seconds since 1970 as aware UTC; 0 and unreadable are None."""
    value = fields.get(name)
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    if not 0 < value <= _LATEST:
        return None
    return datetime.fromtimestamp(value, UTC)
