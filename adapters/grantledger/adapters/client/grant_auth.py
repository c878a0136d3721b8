"""Signs requests to a resource with a user's access token from the broker."""

from __future__ import annotations

import threading
import time
from collections.abc import AsyncGenerator, Callable, Generator, Sequence
from dataclasses import replace
from typing import Any
from weakref import WeakKeyDictionary

import anyio
import httpx

from grantledger.adapters.client.broker import BrokerClient, Token, Wish, loop

MIN_TTL_SECONDS = 60.0
ANOTHER_AFTER_SECONDS = 30.0
_UNAUTHORIZED = 401


class GrantAuth(httpx.Auth):
    """Signs a client's requests with a user's access token from the broker.

    One instance serves one user; requests side by side share one token and one call
    for it. Use it in threads or in an event loop.

    After a 401 the broker is told which token was refused and hands out a newer one,
    once for all who hold the old; the request is then sent again. A body that can be
    read once only, such as an open file or a generator, is not: the 401 is the answer,
    and the next request has the newer token. A server that refuses that one as well is
    believed for half a minute: each other token costs the grant a rotation.

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
        self._replaced_at: float | None = None

    def sync_auth_flow(
        self, request: httpx.Request
    ) -> Generator[httpx.Request, httpx.Response, None]:
        """Send with a token; after a 401, once more with one asked for anew."""
        used = self._fetch(None)
        response = yield _signed(request, used)
        if _refused(response, used):
            fresh = self._fetch(used)
            if fresh.value != used.value and _replayable(request):
                yield _signed(request, fresh)

    async def async_auth_flow(
        self, request: httpx.Request
    ) -> AsyncGenerator[httpx.Request, httpx.Response]:
        """Send with a token; after a 401, once more with one asked for anew."""
        used = await self._fetch_async(None)
        response = yield _signed(request, used)
        if _refused(response, used):
            fresh = await self._fetch_async(used)
            if fresh.value != used.value and _replayable(request):
                yield _signed(request, fresh)

    def _fetch(self, refused: Token | None) -> Token:
        with self._lock:
            found = self._usable(refused)
            if found is None:
                found = self._keep(self._broker.token(self._asking(refused)), refused)
            return found

    async def _fetch_async(self, refused: Token | None) -> Token:
        found = self._usable(refused)
        if found is not None:
            return found
        turn = self._turns.setdefault(loop(), anyio.Lock())
        async with turn:
            found = self._usable(refused)
            if found is None:
                asking = self._asking(refused)
                found = self._keep(await self._broker.token_async(asking), refused)
            return found

    def _asking(self, refused: Token | None) -> Wish:
        if refused is None:
            return self._wish
        return replace(self._wish, newer_than=refused.token_ref)

    def _usable(self, refused: Token | None) -> Token | None:
        """Return the kept token, unless it is over or a server has refused it."""
        if self._kept is None:
            return None
        token, since = self._kept
        now = self._monotonic()
        left = token.expires_in - (now - since)
        # A token that never lives so long is used for three quarters of its life.
        wanted = min(self._wish.min_ttl_seconds, token.expires_in / 4)
        if left <= wanted:
            return None
        if refused is None or token.value != refused.value:
            return token
        replaced = self._replaced_at
        lately = replaced is not None and now - replaced < ANOTHER_AFTER_SECONDS
        return token if lately else None

    def _keep(self, token: Token, refused: Token | None) -> Token:
        now = self._monotonic()
        self._kept = (token, now)
        if refused is not None:
            self._replaced_at = now
        return token


def _refused(response: httpx.Response, token: Token) -> bool:
    """Tell whether the answer refuses the token.

    httpx follows a redirect in between; to another host it takes no token along, and
    one that was not shown was not refused: another would cost a rotation.
    """
    shown = response.request.headers.get("Authorization")
    return response.status_code == _UNAUTHORIZED and shown == f"Bearer {token.value}"


def _replayable(request: httpx.Request) -> bool:
    """Tell whether the body is in memory; what was read from elsewhere is gone."""
    return isinstance(request.stream, httpx.ByteStream)


def _signed(request: httpx.Request, token: Token) -> httpx.Request:
    request.headers["Authorization"] = f"Bearer {token.value}"
    return request
