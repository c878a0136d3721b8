"""One bounded HTTP request: no redirect, no retry, no cookie, no proxy.

The transport is driven directly rather than through `httpx.AsyncClient`: there
is then no code that could follow a redirect with a refresh token in the body
(RFC 9700 section 4.12), no cookie jar that carries one user's session into
another user's request, and no environment that names a proxy.

What it tells apart is what rotation needs to know: *nothing was sent* from *may
have been sent*. It is certain that nothing was sent as long as httpcore has not
announced `http11.send_request_headers.started`.
"""

from __future__ import annotations

import ssl
import zlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from types import TracebackType
from typing import Protocol, Self

import anyio
import httpx

DEFAULT_BODY_LIMIT_BYTES = 1024 * 1024
_AGENT = "grantledger"
_SERVER_ERROR = 500
_COMPRESSED = {"gzip", "x-gzip", "deflate"}
_EITHER_HEADER = 32 + zlib.MAX_WBITS


@dataclass(frozen=True, slots=True)
class HttpAnswer:
    """An answer read to its end, or to the limit.

    Attributes:
        headers: names in lower case.
        body: empty when `unreadable`.
        unreadable: the body was longer than the limit, or in an unknown encoding.
    """

    status: int
    headers: Mapping[str, str] = field(repr=False)
    body: bytes = field(repr=False)
    unreadable: bool = False


@dataclass(frozen=True, slots=True)
class TransportFailure:
    """No complete answer.

    Attributes:
        sent: False only when it is certain that no byte of the request left.
        error: `connect_failed`, `timeout`, `connection_lost`.
        status: known when the answer broke off after its first line.
    """

    sent: bool
    error: str
    status: int | None = None


class Sending(Protocol):
    """One request that is watched while it runs."""

    @property
    def headers(self) -> Mapping[str, str]:
        """Sent beside the others."""
        ...

    def ended(self, outcome: HttpAnswer | TransportFailure | None) -> None:
        """Take note of how it ended; None where its caller went away."""
        ...


class HttpWatch(Protocol):
    """Sees requests, without their paths' queries, headers and bodies."""

    def sending(self, method: str, url: str, what: str) -> Sending:
        """Return who watches this request."""
        ...


@dataclass(frozen=True, slots=True)
class Reached:
    """What became of the last request to a server.

    Attributes:
        answered: it answered, and not with a 5xx.
        word: `answered`, `status_503`, or that of a `TransportFailure`.
        at: on the event loop's clock.
    """

    answered: bool
    word: str
    at: float


class _BudgetSpentError(Exception):
    """The budget ran out before the first byte; raised at the last safe moment."""


class _Progress:
    """What is known of one request while it runs."""

    def __init__(self, deadline: float) -> None:
        self.deadline = deadline
        self.sent = False
        self.status: int | None = None
        self.answer: HttpAnswer | None = None

    async def trace(self, name: str, _info: Mapping[str, object]) -> None:
        """Note the step that httpcore is about to take.

        Raises:
            _BudgetSpentError: the process was held up while connecting. A takeover
                may have begun, so the token must not be sent any more.
        """
        if name == "http11.send_request_headers.started":
            if anyio.current_time() >= self.deadline:
                raise _BudgetSpentError
            self.sent = True


class BoundedHttp:
    """Sends single requests, each with a budget for its time and its size.

    Args:
        ssl_context: trust anchors; by default those of certifi. The environment's
            SSL_CERT_FILE is not read.
        max_connections: how many requests run at once; others wait in their budget.
        watch: sees each request, None for nobody.

    Attributes:
        last: what became of the last request, None before the first.
    """

    def __init__(
        self,
        *,
        ssl_context: ssl.SSLContext | None = None,
        max_connections: int = 100,
        watch: HttpWatch | None = None,
    ) -> None:
        self.last: Reached | None = None
        self._watch = watch
        # A connection is never used twice. A server may close an idle one at the
        # very moment it is reused; the refresh token is then written into a dead
        # socket, and a harmless race looks like a lost rotation. Redemptions are
        # rare beside hand-outs, so a handshake each is cheap insurance.
        self._transport = httpx.AsyncHTTPTransport(
            verify=ssl_context or httpx.create_ssl_context(trust_env=False),
            trust_env=False,
            limits=httpx.Limits(
                max_connections=max_connections, max_keepalive_connections=0
            ),
        )

    async def __aenter__(self) -> Self:
        """Return itself; leaving closes it."""
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Close what is open."""
        await self.aclose()

    async def aclose(self) -> None:
        """Close every connection."""
        await self._transport.aclose()

    async def request(
        self,
        method: str,
        url: str,
        *,
        budget_seconds: float,
        headers: Mapping[str, str] | None = None,
        content: bytes | None = None,
        body_limit_bytes: int = DEFAULT_BODY_LIMIT_BYTES,
        what: str = "form",
    ) -> HttpAnswer | TransportFailure:
        """Send one request and read its answer; never raises for either.

        Args:
            method: GET, POST, PUT or DELETE.
            url: absolute, already checked by `urls.split`.
            budget_seconds: from waiting for a connection to the last byte.
            headers: sent beside Host, User-Agent, Accept and Content-Length.
            content: the body, None for none.
            body_limit_bytes: a longer answer counts as unreadable.
            what: the word for what is asked, for whoever watches.
        """
        sending: Sending | None = None
        if self._watch is not None:
            sending = self._watch.sending(method, url, what)
            headers = {**(headers or {}), **sending.headers}
        seen: HttpAnswer | TransportFailure | None = None
        try:
            outcome = seen = await self._request(
                method, url, budget_seconds, headers or {}, content, body_limit_bytes
            )
        finally:
            if sending is not None:
                sending.ended(seen)
        self.last = _reached(outcome)
        return outcome

    async def _request(
        self,
        method: str,
        url: str,
        budget_seconds: float,
        headers: Mapping[str, str],
        content: bytes | None,
        body_limit_bytes: int,
    ) -> HttpAnswer | TransportFailure:
        if not budget_seconds > 0:
            return TransportFailure(sent=False, error="timeout")
        progress = _Progress(anyio.current_time() + budget_seconds)
        request = httpx.Request(
            method,
            url,
            headers={
                "User-Agent": _AGENT,
                "Accept": "application/json",
                "Accept-Encoding": "identity",
                "Connection": "close",
                **headers,
            },
            content=content,
            extensions={
                "timeout": dict.fromkeys(
                    ("connect", "read", "write", "pool"), budget_seconds
                ),
                "trace": progress.trace,
            },
        )
        error = "timeout"
        with anyio.move_on_after(budget_seconds):
            error = await self._run(request, progress, body_limit_bytes)
        if progress.answer is not None:
            return progress.answer
        return TransportFailure(progress.sent, error, progress.status)

    async def _run(
        self, request: httpx.Request, progress: _Progress, limit: int
    ) -> str:
        """Fill in `progress.answer`, or return the word for what went wrong."""
        try:
            response = await self._transport.handle_async_request(request)
            progress.status = response.status_code
            try:
                # Assigned before closing: a deadline that passes during the close
                # must not throw away an answer that was read in full.
                progress.answer = await _read(response, limit)
            finally:
                with anyio.CancelScope(shield=True):
                    await response.aclose()
        except (httpx.ConnectError, httpx.ConnectTimeout, httpx.UnsupportedProtocol):
            return "connect_failed"
        except (httpx.TimeoutException, _BudgetSpentError):
            return "timeout"
        except httpx.TransportError:
            return "connection_lost"
        return ""


def _reached(outcome: HttpAnswer | TransportFailure) -> Reached:
    now = anyio.current_time()
    if isinstance(outcome, TransportFailure):
        return Reached(answered=False, word=outcome.error, at=now)
    if outcome.status >= _SERVER_ERROR:
        return Reached(answered=False, word=f"status_{outcome.status}", at=now)
    return Reached(answered=True, word="answered", at=now)


async def _read(response: httpx.Response, limit: int) -> HttpAnswer:
    headers = {name.lower(): value for name, value in response.headers.items()}
    chunks: list[bytes] = []
    size = 0
    async for chunk in response.aiter_raw():
        size += len(chunk)
        if size > limit:
            return HttpAnswer(response.status_code, headers, b"", unreadable=True)
        chunks.append(chunk)
    body = _decoded(b"".join(chunks), headers.get("content-encoding", ""), limit)
    if body is None:
        return HttpAnswer(response.status_code, headers, b"", unreadable=True)
    return HttpAnswer(response.status_code, headers, body)


def _decoded(raw: bytes, encoding: str, limit: int) -> bytes | None:
    """Undo a compression that was not asked for: gateways compress regardless.

    Refusing such an answer would lose the rotation in it. The output is bounded
    like the input, so that a small body cannot unfold into a large one.
    """
    encoding = encoding.strip().lower()
    if encoding in {"", "identity"}:
        return raw
    if encoding not in _COMPRESSED:
        return None
    unpacker = zlib.decompressobj(wbits=_EITHER_HEADER)
    try:
        body = unpacker.decompress(raw, limit + 1)
    except zlib.error:
        return None
    return body if unpacker.eof and len(body) <= limit else None
