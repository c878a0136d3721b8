"""Several processes that serve on the same sockets, and one that keeps them.

The parent binds, and does nothing else itself: each child is a whole broker. A child
says `ready` on its standard output, and ends when its standard input does: so none
outlives its parent, however that ended.
"""

from __future__ import annotations

import logging
import math
import signal
import socket
import subprocess
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace

import anyio
from anyio.abc import Process

from grantledger.adapters.settings import process_environment
from grantledger.domain.errors import Unavailable

READY = b"ready"
FIRST_PAUSE_SECONDS = 0.1
LAST_PAUSE_SECONDS = 30.0
SETTLED_SECONDS = 60.0
ATTEMPTS = 5

_log = logging.getLogger("grantledger.processes")


class NotStartedError(Exception):
    """The first child ended before it served; it has said why on standard error.

    Attributes:
        code: its exit code; negative, the signal that ended it.
    """

    def __init__(self, code: int) -> None:
        super().__init__(code)
        self.code = code


@dataclass(frozen=True, slots=True)
class Children:
    """How children are made.

    Attributes:
        number: of them.
        command: of a child by its number, given the sockets' descriptors.
        environment: of a child by its number, beside the parent's.
        ended: called with the process id of one that has ended.
    """

    number: int
    command: Callable[[int, Sequence[int]], Sequence[str]]
    environment: Callable[[int], Mapping[str, str]] = lambda _: {}
    ended: Callable[[int], object] = lambda _: None

    def with_these(
        self, environment: Mapping[str, str], ended: Callable[[int], object]
    ) -> Children:
        """Return the same with more in their environment, and one who is told."""
        before = self.environment

        def whole(number: int) -> Mapping[str, str]:
            return {**before(number), **environment}

        return replace(self, environment=whole, ended=ended)


class Processes:
    """Children that serve until a signal comes.

    Args:
        children: how they are made.
        bound: the sockets that all of them accept on; closed when they are to end.
        first_pause_seconds: before a child that died is replaced; doubles each time
            that one dies again before it has served for a minute.
    """

    def __init__(
        self,
        children: Children,
        bound: Sequence[socket.socket],
        first_pause_seconds: float = FIRST_PAUSE_SECONDS,
    ) -> None:
        self._children = children
        self._bound = bound
        self._handles = [one.fileno() for one in bound]
        self._first_pause = first_pause_seconds
        self._running: dict[int, Process] = {}
        self._ready: set[int] = set()
        self._stopping = anyio.Event()
        self._rereading = 0
        self._failed = 0
        self._failure: Exception | None = None

    async def run(self, started: Callable[[], object]) -> None:
        """Keep the children until SIGTERM or SIGINT, then until all have drained.

        SIGHUP is passed on. `started` is called once all of them serve. The first is
        waited for before the others begin: what is wrong is said once.

        Raises:
            NotStartedError: the first child did not get to serve.
            Unavailable: none is left, and none starts any more.
        """
        signals = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
        with anyio.open_signal_receiver(*signals) as received:
            async with anyio.create_task_group() as hearing:
                hearing.start_soon(self._hear, received)
                await self._keep(started)
                hearing.cancel_scope.cancel()
        if self._failure is not None:
            raise self._failure

    async def _keep(self, started: Callable[[], object]) -> None:
        async with anyio.create_task_group() as slots:
            first = anyio.Event()
            slots.start_soon(self._slot, 0, first)
            await first.wait()
            if self._stopping.is_set():
                return
            others = [anyio.Event() for _ in range(1, self._children.number)]
            for number, event in enumerate(others, start=1):
                slots.start_soon(self._slot, number, event)
            for event in others:
                await event.wait()
            if not self._stopping.is_set():
                started()

    async def _slot(self, number: int, served: anyio.Event) -> None:
        """Keep one child there."""
        died = 0
        while not self._stopping.is_set():
            since = anyio.current_time()
            code, ready = await self._one(number, served)
            if self._stopping.is_set():
                break
            if not ready and not served.is_set() and number == 0:
                self._give_up(NotStartedError(code))
                break
            if ready and anyio.current_time() - since > SETTLED_SECONDS:
                died = 0
            self._failed = 0 if ready else self._failed + 1
            if self._failed >= ATTEMPTS and not self._ready:
                words = f"{ATTEMPTS} processes in a row did not start"
                self._give_up(Unavailable(words))
                break
            pause = min(self._first_pause * math.pow(2, died), LAST_PAUSE_SECONDS)
            died += 1
            _log.error("process %d ended: %s; another follows", number, _how(code))
            with anyio.move_on_after(pause):
                await self._stopping.wait()
        served.set()

    async def _one(self, number: int, served: anyio.Event) -> tuple[int, bool]:
        """Run one child to its end; return its exit code, and whether it served."""
        made = self._children
        process = await anyio.open_process(
            made.command(number, self._handles),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=None,
            env={**process_environment(), **made.environment(number)},
            pass_fds=self._handles,
        )
        ready = False
        self._running[number] = process
        reread = self._rereading
        try:
            if self._stopping.is_set():
                process.send_signal(signal.SIGTERM)
            if process.stdout is not None:
                async for said in process.stdout:
                    if READY not in said:
                        continue
                    ready = True
                    self._ready.add(number)
                    served.set()
                    if reread != self._rereading:
                        # It may have read the settings before they changed.
                        process.send_signal(signal.SIGHUP)
            code = await process.wait()
        finally:
            self._ready.discard(number)
            del self._running[number]
            with anyio.CancelScope(shield=True):
                # A child that was not heard to end sees its standard input end.
                await process.aclose()
            made.ended(process.pid)
        return code, ready

    async def _hear(self, received: AsyncIterator[signal.Signals]) -> None:
        async for one in received:
            if one == signal.SIGHUP:
                self._rereading += 1
                for number in self._ready:
                    self._tell(number, signal.SIGHUP)
            else:
                self._stop()

    def _give_up(self, failure: Exception) -> None:
        self._failure = failure
        self._stop()

    def _stop(self) -> None:
        """Have everybody end; nothing new is accepted."""
        self._stopping.set()
        for one in self._bound:
            one.close()
        for number in list(self._running):
            # Not SIGINT: a terminal has sent it to all, and a second one is urgent.
            self._tell(number, signal.SIGTERM)

    def _tell(self, number: int, what: signal.Signals) -> None:
        with suppress(ProcessLookupError):
            self._running[number].send_signal(what)


def _how(code: int) -> str:
    return f"signal {-code}" if code < 0 else f"exit code {code}"
