"""Asks a broker for tokens, with httpx and nothing else of this project."""

from __future__ import annotations

from collections.abc import Callable, Generator
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
_LOOPBACK = frozenset({"127.0.0.1", "localhost", "::1"})
_OK = 200


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
        token_ref: of two tokens of a grant the newer has the greater one.
    """

    value: str = field(repr=False)
    expires_in: float
    scopes: tuple[str, ...]
    audience: str | None
    grant_id: str
    request_id: str
    token_ref: int = 0


@dataclass(frozen=True, slots=True)
class Wish:
    """Which token is asked for; see the broker's page for callers.

    Attributes:
        newer_than: `token_ref` of one that a server has refused; 0 for none.
    """

    provider: str
    subject: str
    scopes: tuple[str, ...] = ()
    audience: str | None = None
    min_ttl_seconds: float = 0.0
    reason: str | None = None
    label: str = "default"
    newer_than: int = 0

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
        if self.newer_than:
            said["newer_than"] = self.newer_than
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
        here = loop()
        client = self._async.get(here)
        if client is None:
            client = self._async[here] = httpx.AsyncClient(**self._options)
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
        client = self._async.pop(loop(), None)
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


def loop() -> Any:  # noqa: ANN401 - of whichever backend
    """Return the running event loop."""
    token = anyio.lowlevel.current_token()
    return getattr(token, "native_token", token)


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
            token_ref=int(body.get("token_ref", 0)),
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
