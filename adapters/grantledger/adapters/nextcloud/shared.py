"""One opened broker for everything that shares a storage.

Opened by the first call that needs it, in that call's event loop, and closed with
the last service that uses it. A later call opens it again.
"""

from __future__ import annotations

import asyncio
import logging
import weakref
from contextlib import AbstractAsyncContextManager

from grantledger.adapters.bootstrap import OpenBroker, open_broker
from grantledger.adapters.nextcloud import files
from grantledger.adapters.nextcloud.environment import (
    CLIENT_ID,
    DISCOVERY,
    PROVIDER,
    Deployment,
    Server,
)
from grantledger.adapters.nextcloud.takeover import TakeoverReport, take_over
from grantledger.domain.errors import ConfigurationError
from grantledger.domain.requests import Caller

_log = logging.getLogger("grantledger.nextcloud")


class SharedBroker:
    """Opens the deployment's broker, once.

    Attributes:
        caller: how the application is named in the history.
        takeover: what was taken over at the first start, None where nothing was.
    """

    def __init__(self, deployment: Deployment) -> None:
        self.deployment = deployment
        self.caller = Caller(deployment.caller)
        self.takeover: TakeoverReport | None = None
        self._server: Server | None = None
        self._users: weakref.WeakSet[object] = weakref.WeakSet()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._lock = asyncio.Lock()
        self._context: AbstractAsyncContextManager[OpenBroker] | None = None
        self._opened: OpenBroker | None = None
        self._opened_for: Server | None = None

    def serve(self, user: object, server: Server) -> None:
        """Use this server from now on, for as long as `user` is not done.

        Raises:
            ConfigurationError: a setting is wrong, or another service uses this
                storage with another server.
        """
        self.deployment.provider(server)
        others = [other for other in self._users if other is not user]
        if others and self._server not in (None, server):
            raise ConfigurationError(
                "another TokenBrokerService uses this storage with other settings; "
                "give each server a storage of its own",
                "storage",
            )
        self._server = server
        self._users.add(user)

    async def prepare(self) -> None:
        """Make what is missing, and prove that the keys open the ledger.

        Raises:
            ConfigurationError: a setting is wrong, or the key ring is missing.
            LedgerError: the ledger cannot be used, or the keys are not its own.
        """
        if self._server is not None or self.deployment.server() is not None:
            await self.get()
            return
        async with self._turn():
            await asyncio.to_thread(files.prepare, self.deployment)
            async with open_broker(self.deployment.settings(None), tend=False):
                pass

    async def get(self) -> OpenBroker:
        """Return the opened broker.

        Raises:
            ConfigurationError: a setting is wrong, no server is known, or the broker
                is open in another event loop.
            LedgerError: the ledger cannot be used, or the keys are not its own.
        """
        async with self._turn():
            server = self._server or self.deployment.server()
            if server is None:
                raise ConfigurationError(
                    f"no authorization server is known: set {DISCOVERY} and "
                    f"{CLIENT_ID}, or make a TokenBrokerService first",
                    DISCOVERY,
                )
            if self._opened is not None:
                if self._opened_for == server:
                    return self._opened
                await self._close()
            return await self._open(server)

    async def done(self, user: object) -> None:
        """Close the broker, unless another service still uses it."""
        async with self._turn():
            self._users.discard(user)
            if not self._users:
                await self._close()

    def _turn(self) -> asyncio.Lock:
        """Return the lock of this event loop.

        Raises:
            ConfigurationError: the broker is open in another loop that still lives.
        """
        loop = asyncio.get_running_loop()
        if loop is not self._loop:
            before = self._loop
            if before is not None and self._opened is not None:
                if not before.is_closed():
                    raise ConfigurationError(
                        "the storage is open in another event loop; close it there",
                        "storage",
                    )
                # Closed with its loop, which ends what runs in it.
                self._context = self._opened = None
            self._loop, self._lock = loop, asyncio.Lock()
        return self._lock

    async def _open(self, server: Server) -> OpenBroker:
        deployment = self.deployment
        settings = deployment.settings(server)
        await asyncio.to_thread(files.prepare, deployment)
        context = open_broker(settings)
        opened = await context.__aenter__()
        try:
            await self._take_over(opened)
        except BaseException as cause:
            await context.__aexit__(type(cause), cause, cause.__traceback__)
            raise
        self._context, self._opened, self._opened_for = context, opened, server
        return opened

    async def _close(self) -> None:
        context, self._context, self._opened = self._context, None, None
        if context is not None:
            await context.__aexit__(None, None, None)

    async def _take_over(self, opened: OpenBroker) -> None:
        """Take the earlier broker's users over, where that is still pending."""
        deployment = self.deployment
        if deployment.earlier is None or not files.owed(deployment):
            return
        if deployment.fernet_key is None:
            raise ConfigurationError(
                f"taking over {deployment.earlier} has not ended; its key is missing",
                "TOKEN_ENCRYPTION_KEY",
            )
        self.takeover = await take_over(
            opened,
            self.caller,
            deployment.earlier,
            deployment.fernet_key,
            PROVIDER,
        )
        files.settled(deployment)
        _log.warning(
            "took over %d users of %s; %d were left out",
            self.takeover.imported,
            deployment.earlier.name,
            len(self.takeover.skipped),
        )
