"""Publishes checkpoints of the log in time, has them cosigned, and writes them away.

Every service and worker tries; the store lets one of them publish. Nothing is signed
that does not begin with what was published before. What is late or fails is counted,
and is in the log once an outage, with its end.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import timedelta
from functools import partial

from grantledger.adapters.bootstrap.checkpoint_exports import CheckpointExport
from grantledger.adapters.bootstrap.guarding import LogGuard
from grantledger.adapters.bootstrap.regularly import regularly
from grantledger.adapters.keys.signing import is_signed
from grantledger.adapters.ledger.log_memory import LogView
from grantledger.adapters.ledger.published_log import Published
from grantledger.adapters.ledger.stored_ledger import StoredLedger
from grantledger.adapters.settings import LogSettings
from grantledger.adapters.telemetry.watch import UNWATCHED, Watch
from grantledger.adapters.upstream.witnesses import Witness
from grantledger.domain.context import Context
from grantledger.domain.errors import GrantledgerError, IntegrityError
from grantledger.domain.log_identity import KnownLog
from grantledger.domain.ports import Clock
from grantledger.projections.checkpoints import read_note, read_signatures
from grantledger.projections.cosigning import cosignatures

BEATS = 10
"""How often within `publish_seconds` this process's own leaves are counted."""
ABANDONED_SECONDS = 15.0
"""After so long anybody sees to the cosignatures that its publisher did not get."""

_log = logging.getLogger("grantledger.log")


@dataclass(slots=True)
class _Since:
    """Since when something has been so, on the monotonic clock."""

    clock: Clock
    at: float | None = None

    def so(self, now: bool) -> None:  # noqa: FBT001 - the one thing that it is told
        """Take note of whether it is so now."""
        if not now:
            self.at = None
        elif self.at is None:
            self.at = self.clock.monotonic()

    @property
    def seconds(self) -> float:
        """For how long, 0 where it is not."""
        return 0.0 if self.at is None else self.clock.monotonic() - self.at


@dataclass(slots=True)
class Publisher:
    """One process's part in publishing.

    Args:
        context: surroundings of a decision that nobody asked for.
        said: the settings.
        watch: counts.
    """

    ledger: StoredLedger
    guard: LogGuard
    context: Callable[[], Context]
    clock: Clock
    said: LogSettings
    witnesses: Sequence[Witness] = ()
    exports: Sequence[CheckpointExport] = ()
    watch: Watch = UNWATCHED
    _uncovered: _Since = field(init=False)
    _unwitnessed: _Since = field(init=False)
    # The newest that was seen in the store, and the newest made here.
    _last: Published | None = None
    _made: Published | None = None
    _exported: dict[str, int] = field(default_factory=dict[str, int])
    _exported_at: dict[str, float] = field(default_factory=dict[str, float])
    _looked: float = float("-inf")
    _tasks: list[asyncio.Task[None]] = field(default_factory=list[asyncio.Task[None]])

    def __post_init__(self) -> None:
        """Begin with nothing late."""
        self._uncovered = _Since(self.clock)
        self._unwitnessed = _Since(self.clock)

    @property
    def age_seconds(self) -> float:
        """For how long the log has leaves that no good checkpoint covers."""
        return max(self._uncovered.seconds, self._unwitnessed.seconds)

    @property
    def published(self) -> int:
        """How many leaves the newest checkpoint covers, as last seen."""
        return 0 if self._last is None else self._last.size

    # -- in the background

    def start(self) -> None:
        """Begin, in this event loop, unless the settings say that others do."""
        if not self.said.publish or not self.guard.public_keys():
            return
        pause = self.said.publish_seconds
        self._tasks.append(
            asyncio.create_task(
                regularly(self._beat, lambda: pause / BEATS, "publishing checkpoints")
            )
        )
        if self.witnesses or self.exports:
            self._tasks.append(
                asyncio.create_task(
                    regularly(self.spread, lambda: pause, "spreading checkpoints")
                )
            )

    async def stop(self) -> None:
        """Publish no more."""
        tasks, self._tasks = self._tasks, []
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _beat(self) -> None:
        """Look at the store where it is time, or enough leaves were written here."""
        fresh = self.ledger.memory.size - self.published
        many = fresh >= self.said.publish_leaves
        now = self.clock.monotonic()
        if many or now - self._looked >= self.said.publish_seconds:
            self._looked = now
            await self.publish()

    # -- publishing

    async def publish(self) -> Published | None:
        """Publish a checkpoint if it is time; return the one that this process made.

        Raises:
            GrantledgerError: it failed; it is counted, and in the log if it can be.
        """
        try:
            made, view = await self._publish()
        except GrantledgerError as error:
            self.watch.checkpoint("failed")
            if isinstance(error, IntegrityError) or self._late:
                # A ledger that takes nothing does not take this either.
                with suppress(GrantledgerError):
                    await self._failed(error.code)
            raise
        if self._late:
            late = self._uncovered.seconds > self.said.late_seconds
            await self._failed("late" if late else "unwitnessed")
        elif view.life.unpublished and self._uncovered.at is None:
            await self._resumed()
        return made

    async def _publish(self) -> tuple[Published | None, LogView]:
        view = await self.ledger.log()
        log = self.guard.known(view)
        newest = await self.ledger.published.newest(log.origin)
        covered = 0 if newest is None else newest.size
        if log.size < covered:
            # Read before it: another replica may have written and published since.
            view = await self.ledger.log()
            log = self.guard.known(view)
        self._uncovered.so(log.size > covered)
        self._refuse_shorter(log, newest)
        self._last = newest or self._last
        if log.size <= covered or not self._due(log, newest):
            return None, view
        signed, note = await self.guard.signed()
        now = self.clock.now()
        new = Published(
            signed.origin, signed.size, bytes.fromhex(signed.root), now, note
        )
        said = self.said
        # One of the future is of a clock that was wrong: it holds nothing up.
        ahead = newest is not None and newest.at > now
        if not await self.ledger.published.publish(
            new,
            gap_seconds=said.publish_seconds,
            leaves=1 if ahead else said.publish_leaves,
        ):
            return None, view  # another replica was faster
        self.watch.checkpoint("published")
        self._last = self._made = new
        self._uncovered.so(False)
        return new, view

    def _due(self, log: KnownLog, newest: Published | None) -> bool:
        if newest is None or log.size - newest.size >= self.said.publish_leaves:
            return True
        gap = timedelta(seconds=self.said.publish_seconds)
        return not newest.at <= self.clock.now() < newest.at + gap

    def _refuse_shorter(self, log: KnownLog, newest: Published | None) -> None:
        """Refuse a store that has lost what was published."""
        size = 0 if newest is None else newest.size
        last = self._last
        if last is not None and last.origin == log.origin and last.size > size:
            raise IntegrityError(
                f"the published checkpoint of {last.size} leaves is gone: the newest "
                f"is of {size}"
            )
        if log.size < size:
            raise IntegrityError(
                f"the log has {log.size} leaves, and a checkpoint of {size} was "
                "published"
            )

    # -- outages

    @property
    def _late(self) -> bool:
        return self.age_seconds > self.said.late_seconds

    async def _failed(self, cause: str) -> None:
        life = await self.ledger.life()
        size = self.ledger.memory.size
        if life.checkpoint_failed(
            self.context(), cause=cause, published=self.published, size=size
        ):
            _log.error("checkpoints are late: %s", cause)
            await self.ledger.append_life(life)

    async def _resumed(self) -> None:
        life = await self.ledger.life()
        if life.checkpoint_resumed(self.context(), published=self.published):
            _log.warning("checkpoints are published in time again")
            await self.ledger.append_life(life)

    # -- spreading

    async def spread(self) -> None:
        """Have the newest checkpoint cosigned and written away, as far as it is not.

        Raises:
            IntegrityError: what is stored of it is no checkpoint.
            GrantledgerError: of a witness or a place; the others were seen to.
        """
        origin = await self.guard.origin()
        newest = await self.ledger.published.newest(origin)
        if newest is None:
            return
        mine = self._made is not None and self._made.note == newest.note
        old = self.clock.now() - newest.at > timedelta(seconds=ABANDONED_SECONDS)
        failures: list[GrantledgerError] = []
        if mine or old:
            failures += await self._cosign(newest)
        newest = await self.ledger.published.published(origin, newest.size) or newest
        enough = len(self._witnessed(newest)) >= self.said.quorum
        self._unwitnessed.so(not enough)
        if enough:
            failures += await self._export(newest)
        for failure in failures:
            raise failure

    def _witnessed(self, newest: Published) -> set[str]:
        """Return the names of our witnesses that have rightly cosigned it."""
        known = [witness.cosigner for witness in self.witnesses]
        try:
            text = read_note(newest.note.encode()).signed
        except ValueError as cause:
            raise IntegrityError(
                f"the published checkpoint of {newest.size} leaves is none: {cause}"
            ) from cause
        names: set[str] = set()
        for line in newest.cosignatures:
            # What stands in the store may be anybody's.
            with suppress(ValueError):
                found = cosignatures(text, read_signatures(line), known, is_signed)
                names.update(each.cosigner.name for each in found)
        return names

    async def _cosign(self, newest: Published) -> list[GrantledgerError]:
        have = self._witnessed(newest)
        log = self.ledger.published
        prove = partial(self._proof, newest.size)

        async def ask(witness: Witness) -> None:
            said = await witness.cosign(newest.note, prove)
            await log.cosigned(newest, said)

        asked = [w for w in self.witnesses if w.cosigner.name not in have]
        return await self._all("cosigned", [ask(one) for one in asked])

    async def _proof(self, size: int, old: int) -> Sequence[bytes]:
        return await self.ledger.published.consistency(old, size)

    async def _export(self, newest: Published) -> list[GrantledgerError]:
        now = self.clock.monotonic()

        async def write(place: CheckpointExport) -> None:
            await place.write(newest.size, newest.text)
            self._exported[place.name] = newest.size
            self._exported_at[place.name] = now

        due = [
            place
            for place in self.exports
            if self._exported.get(place.name, -1) < newest.size
            and now - self._exported_at.get(place.name, float("-inf"))
            >= self.said.export_seconds
        ]
        return await self._all("exported", [write(one) for one in due])

    async def _all(
        self, word: str, works: Sequence[Awaitable[None]]
    ) -> list[GrantledgerError]:
        """Do all of it at once, count what was done, and return what failed."""
        failures: list[GrantledgerError] = []
        for result in await asyncio.gather(*works, return_exceptions=True):
            if isinstance(result, GrantledgerError):
                self.watch.checkpoint(f"not_{word}")
                failures.append(result)
            elif result is not None:
                raise result
            else:
                self.watch.checkpoint(word)
        return failures
