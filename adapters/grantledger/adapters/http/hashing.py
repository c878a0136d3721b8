"""Secrets compared with their argon2 hashes, without a queue that anybody can fill.

A comparison costs some 40 ms of a core, whoever asks. So few run at once, few wait,
fewer for one client, and the same secret is compared once however many bring it: wrong
secrets for one client leave the others their turn.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Mapping

import anyio
import anyio.to_thread
from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerificationError

from grantledger.domain.errors import Unavailable
from grantledger.domain.values import Secret

AT_ONCE = 2
WAITING_OF_ONE = 8
WAITING = 64
RETRY_SECONDS = 1.0
NOBODY = ""


class SecretHashes:
    """The hashes of clients' secrets.

    Args:
        hashes: by client id.
        hasher: makes the one that unknown clients are compared with.
    """

    def __init__(
        self, hashes: Mapping[str, str], hasher: PasswordHasher | None = None
    ) -> None:
        self._hashes = hashes
        self._hasher = hasher or PasswordHasher()
        # Compared with when no such client is known: both take the same time.
        self._nobody = self._hasher.hash("nobody")
        self._limiter = anyio.CapacityLimiter(AT_ONCE)
        self._under_way: dict[bytes, asyncio.Task[bool]] = {}
        self._waiting: Counter[str] = Counter()

    async def matches(self, client_id: str, secret: Secret, marked: bytes) -> bool:
        """Tell whether it is the client's secret; `marked` is one mark for both.

        Raises:
            Unavailable: too many wait already.
        """
        task = self._under_way.get(marked)
        if task is None:
            task = self._start(client_id, secret, marked)
        return await asyncio.shield(task)

    def _start(
        self, client_id: str, secret: Secret, marked: bytes
    ) -> asyncio.Task[bool]:
        who = client_id if client_id in self._hashes else NOBODY
        waiting = self._waiting
        if waiting[who] >= WAITING_OF_ONE or waiting.total() >= WAITING:
            raise Unavailable("too many secrets are being compared", RETRY_SECONDS)
        waiting[who] += 1
        task = asyncio.create_task(
            anyio.to_thread.run_sync(
                self._compare, client_id, secret, limiter=self._limiter
            )
        )
        self._under_way[marked] = task

        def done(_: asyncio.Task[bool]) -> None:
            del self._under_way[marked]
            waiting[who] -= 1
            if not waiting[who]:
                del waiting[who]

        task.add_done_callback(done)
        return task

    def _compare(self, client_id: str, secret: Secret) -> bool:
        known = self._hashes.get(client_id)
        try:
            self._hasher.verify(known or self._nobody, secret.reveal())
        except (VerificationError, InvalidHashError):
            return False
        return known is not None
