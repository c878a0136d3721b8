"""For services that call a broker: its tokens, and requests that carry them.

    from grantledger.client import BrokerAuth, BrokerClient, GrantAuth

    broker = BrokerClient("https://broker.example", BrokerAuth(bearer=jwt))
    grant = GrantAuth(broker, "nextcloud", "alice")
    async with httpx.AsyncClient(auth=grant) as http:
        await http.get("https://cloud.example.com/ocs/v2.php/cloud/user?format=json")

Needs httpx and nothing else of this project. A token is asked for when the first
request needs one, kept until it would live for less than `min_ttl_seconds`, and asked
for once more where a server answers 401. Requests to the broker follow no redirect:
what proves the caller goes to the configured address and nowhere else.
"""

from __future__ import annotations

import threading
import time
from collections.abc import AsyncGenerator, Callable, Generator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any, Self, cast
from urllib.parse import quote
from weakref import WeakKeyDictionary

import anyio
import anyio.lowlevel
import httpx

TIMEOUT_SECONDS = 60.0
MIN_TTL_SECONDS = 60.0
_LOOPBACK = frozenset({"127.0.0.1", "localhost", "::1"})
_OK = 200
_UNAUTHORIZED = 401


class BrokerError(Exception):
    """The broker gave no token.

    Attributes:
        code: the broker's word, such as `not_provisioned`; `unreachable` where it
            could not be asked, `malformed_answer` where it answered something else.
        status: of its answer, None without one.
        field: what was wrong with the request.
        reason: why policy, or the grant's state, says no.
        retry_after: seconds to wait where nothing is wrong with the grant.
    """

    def __init__(
        self,
        code: str,
        detail: str,
        *,
        status: int | None = None,
        field: str | None = None,
        reason: str | None = None,
        retry_after: float | None = None,
    ) -> None:
        super().__init__(f"{code}: {detail}")
        self.code = code
        self.status = status
        self.field = field
        self.reason = reason
        self.retry_after = retry_after


@dataclass(frozen=True, slots=True)
class Token:
    """An access token as the broker handed it out.

    Attributes:
        value: the token itself; not shown.
        expires_in: seconds from when it was received.
        request_id: names the hand-out in the broker's record.
    """

    value: str = field(repr=False)
    expires_in: float
    scopes: tuple[str, ...]
    audience: str | None
    grant_id: str
    request_id: str


@dataclass(frozen=True, slots=True)
class Wish:
    """Which token is asked for; see the broker's page for callers."""

    provider: str
    subject: str
    scopes: tuple[str, ...] = ()
    audience: str | None = None
    min_ttl_seconds: float = 0.0
    reason: str | None = None
    label: str = "default"

    @property
    def path(self) -> str:
        """The endpoint, each name escaped by itself."""
        names = (quote(self.provider, safe=""), quote(self.subject, safe=""))
        return f"/v1/grants/{names[0]}/{names[1]}/token"

    @property
    def body(self) -> dict[str, object]:
        """What the endpoint is told."""
        said: dict[str, object] = {
            "scopes": list(self.scopes),
            "min_ttl_seconds": self.min_ttl_seconds,
            "label": self.label,
        }
        if self.audience is not None:
            said["audience"] = self.audience
        if self.reason is not None:
            said["reason"] = self.reason
        return said


class BrokerAuth(httpx.Auth):
    """How the caller proves to the broker who it is: a JWT, or id and secret.

    Args:
        bearer: the JWT, or a function that returns the one of the moment, such as
            a read of a file that a platform renews.
        client: id and secret (RFC 6749 section 2.3.1).
    """

    def __init__(
        self,
        *,
        bearer: str | Callable[[], str] | None = None,
        client: tuple[str, str] | None = None,
    ) -> None:
        if (bearer is None) == (client is None):
            raise ValueError("a bearer or a client: one of the two")
        self._bearer = bearer
        self._basic: httpx.BasicAuth | None = None
        if client is not None:
            escaped = (quote(part, safe="") for part in client)
            self._basic = httpx.BasicAuth(*escaped)

    def auth_flow(
        self, request: httpx.Request
    ) -> Generator[httpx.Request, httpx.Response, None]:
        """Add the proof."""
        if self._basic is not None:
            yield from self._basic.auth_flow(request)
            return
        token = self._bearer() if callable(self._bearer) else self._bearer
        request.headers["Authorization"] = f"Bearer {token}"
        yield request


class BrokerClient:
    """Asks a broker for tokens, in threads and in event loops.

    Args:
        url: of the broker; https, or http on loopback.
        auth: proves who calls.
        timeout_seconds: of one request.
        options: further arguments of httpx's clients, such as `verify`.
    """

    def __init__(
        self,
        url: str,
        auth: httpx.Auth,
        *,
        timeout_seconds: float = TIMEOUT_SECONDS,
        **options: Any,  # noqa: ANN401 - as httpx takes them
    ) -> None:
        parts = httpx.URL(url)
        if parts.scheme != "https" and parts.host not in _LOOPBACK:
            raise ValueError("the broker's url must be https, or on loopback")
        self._url = str(parts).rstrip("/")
        self._options: dict[str, Any] = {
            "auth": auth,
            "timeout": timeout_seconds,
            "follow_redirects": False,
            "trust_env": False,
            **options,
        }
        self._sync: httpx.Client | None = None
        # One for each event loop: connections belong to the loop that made them.
        self._async: WeakKeyDictionary[Any, httpx.AsyncClient] = WeakKeyDictionary()

    def token(self, wish: Wish) -> Token:
        """Return a token; blocks.

        Raises:
            BrokerError: the broker gave none.
        """
        if self._sync is None:
            self._sync = httpx.Client(**self._options)
        try:
            answer = self._sync.post(self._url + wish.path, json=wish.body)
        except httpx.HTTPError as cause:
            raise _unreachable(cause) from cause
        return _token_of(answer)

    async def token_async(self, wish: Wish) -> Token:
        """Return a token.

        Raises:
            BrokerError: the broker gave none.
        """
        loop = _loop()
        client = self._async.get(loop)
        if client is None:
            client = self._async[loop] = httpx.AsyncClient(**self._options)
        try:
            answer = await client.post(self._url + wish.path, json=wish.body)
        except httpx.HTTPError as cause:
            raise _unreachable(cause) from cause
        return _token_of(answer)

    def close(self) -> None:
        """Close the connections that were used in threads."""
        if self._sync is not None:
            self._sync.close()

    async def aclose(self) -> None:
        """Close the connections of this event loop, and those used in threads."""
        self.close()
        client = self._async.pop(_loop(), None)
        if client is not None:
            await client.aclose()

    async def __aenter__(self) -> Self:
        """Return the client."""
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Close every connection."""
        await self.aclose()


class GrantAuth(httpx.Auth):
    """Signs a client's requests with a user's access token from the broker.

    One instance serves one user; requests side by side share one token and one call
    for it. Use it in threads or in an event loop.

    Args:
        broker: where tokens come from.
        provider, subject: whose grant.
        scopes, audience, reason, label: see `Wish`.
        min_ttl_seconds: a kept token must still live so long.
        monotonic: seconds that no clock step moves.
    """

    requires_response_body = False

    def __init__(
        self,
        broker: BrokerClient,
        provider: str,
        subject: str,
        *,
        scopes: Sequence[str] = (),
        audience: str | None = None,
        min_ttl_seconds: float = MIN_TTL_SECONDS,
        reason: str | None = None,
        label: str = "default",
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._broker = broker
        self._wish = Wish(
            provider,
            subject,
            tuple(scopes),
            audience,
            min_ttl_seconds,
            reason,
            label,
        )
        self._monotonic = monotonic
        self._lock = threading.Lock()
        self._turns: WeakKeyDictionary[Any, anyio.Lock] = WeakKeyDictionary()
        self._kept: tuple[Token, float] | None = None

    def sync_auth_flow(
        self, request: httpx.Request
    ) -> Generator[httpx.Request, httpx.Response, None]:
        """Send with a token; after a 401, once more with one asked for anew."""
        used = self._fetch(None)
        response = yield _signed(request, used)
        if response.status_code == _UNAUTHORIZED:
            fresh = self._fetch(used)
            if fresh.value != used.value:
                yield _signed(request, fresh)

    async def async_auth_flow(
        self, request: httpx.Request
    ) -> AsyncGenerator[httpx.Request, httpx.Response]:
        """Send with a token; after a 401, once more with one asked for anew."""
        used = await self._fetch_async(None)
        response = yield _signed(request, used)
        if response.status_code == _UNAUTHORIZED:
            fresh = await self._fetch_async(used)
            if fresh.value != used.value:
                yield _signed(request, fresh)

    def _fetch(self, refused: Token | None) -> Token:
        with self._lock:
            return self._usable(refused) or self._keep(self._broker.token(self._wish))

    async def _fetch_async(self, refused: Token | None) -> Token:
        found = self._usable(refused)
        if found is not None:
            return found
        turn = self._turns.setdefault(_loop(), anyio.Lock())
        async with turn:
            found = self._usable(refused)
            return found or self._keep(await self._broker.token_async(self._wish))

    def _usable(self, refused: Token | None) -> Token | None:
        """Return the kept token, unless it is over or a server has just refused it."""
        if self._kept is None:
            return None
        token, since = self._kept
        left = token.expires_in - (self._monotonic() - since)
        # A token that never lives so long is used for three quarters of its life.
        wanted = min(self._wish.min_ttl_seconds, token.expires_in / 4)
        if left <= wanted or (refused is not None and token.value == refused.value):
            return None
        return token

    def _keep(self, token: Token) -> Token:
        self._kept = (token, self._monotonic())
        return token


def _loop() -> Any:  # noqa: ANN401 - of whichever backend
    """Return the running event loop."""
    token = anyio.lowlevel.current_token()
    return getattr(token, "native_token", token)


def _signed(request: httpx.Request, token: Token) -> httpx.Request:
    request.headers["Authorization"] = f"Bearer {token.value}"
    return request


def _token_of(answer: httpx.Response) -> Token:
    said: object = None
    with suppress(ValueError):
        said = answer.json()
    if not isinstance(said, dict):
        raise BrokerError(
            "malformed_answer", "no JSON object", status=answer.status_code
        )
    body = cast("dict[str, Any]", said)
    if answer.status_code != _OK:
        raise _refused(answer, body)
    try:
        return Token(
            value=str(body["access_token"]),
            expires_in=float(body["expires_in"]),
            scopes=tuple(str(body["scope"]).split()),
            audience=body["audience"],
            grant_id=str(body["grant_id"]),
            request_id=str(body["request_id"]),
        )
    except (KeyError, TypeError, ValueError):
        # `from None`: the answer may hold a token.
        raise BrokerError(
            "malformed_answer", "no token answer", status=answer.status_code
        ) from None


def _refused(answer: httpx.Response, body: dict[str, Any]) -> BrokerError:
    later = answer.headers.get("retry-after", "")
    return BrokerError(
        str(body.get("type", "")).rpartition(":")[2] or "malformed_answer",
        str(body.get("detail", answer.reason_phrase)),
        status=answer.status_code,
        field=body.get("field"),
        reason=body.get("reason"),
        retry_after=float(later) if later.isascii() and later.isdigit() else None,
    )


def _unreachable(cause: httpx.HTTPError) -> BrokerError:
    return BrokerError("unreachable", type(cause).__name__, retry_after=1.0)
