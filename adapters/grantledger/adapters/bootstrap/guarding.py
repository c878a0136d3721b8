"""Keeps what is known of the log outside its database, and signs checkpoints of it.

Looked at when the ledger is opened, about once a second while it is open, and on
closing. On a contradiction the ledger is told to refuse, once for all in this process:
what it has in memory is of another log. Reading goes on.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Sequence
from datetime import timedelta
from pathlib import Path

import anyio.to_thread

from grantledger.adapters.bootstrap.published_before import PublishedBefore
from grantledger.adapters.keys.ring import KeyRing
from grantledger.adapters.ledger.guard_file import GuardFile
from grantledger.adapters.ledger.guard_notes import GuardNotes
from grantledger.adapters.ledger.log_memory import LogView, restored
from grantledger.adapters.ledger.published_log import Published
from grantledger.adapters.ledger.stored_ledger import StoredLedger
from grantledger.domain.context import Context
from grantledger.domain.continuing import Continued, Continuing, Found
from grantledger.domain.errors import (
    ConfigurationError,
    GrantledgerError,
    IntegrityError,
    InvalidRequest,
    LedgerError,
    LedgerRestored,
)
from grantledger.domain.log_identity import Continuation, KnownLog, contradiction
from grantledger.domain.ports import Clock, Ids, Signer
from grantledger.projections.checkpoints import Checkpoint, signed_note, verifier_key

DEFAULT_ORIGIN = "grantledger"
NO_OVERLAP = timedelta(0)

_log = logging.getLogger("grantledger.guard")


async def nothing_to_erase() -> int:
    """Erase nothing again: no list is kept."""
    return 0


class LogGuard:
    """One process's watch over the log of its ledger.

    Args:
        path: of the guard file.
        origin: what the origins of this ledger's logs begin with.
        overlap: how long a signing key that was replaced signs as well.

    Attributes:
        ledger: refuses to append where the log is not the one known.
        erase_again: applies the list of erasures kept outside, after a restore.
    """

    def __init__(
        self,
        path: Path,
        ring: KeyRing,
        ledger: StoredLedger,
        clock: Clock,
        ids: Ids,
        origin: str = DEFAULT_ORIGIN,
        overlap: timedelta = NO_OVERLAP,
    ) -> None:
        self.ledger = ledger
        self.erase_again: Callable[[], Awaitable[int]] = nothing_to_erase
        self._file = GuardFile(path, ring)
        self._notes = GuardNotes(self._file)
        self._ring = ring
        self._clock = clock
        self._ids = ids
        self._origin = origin
        self._overlap = overlap
        self._before = PublishedBefore(ledger.published, ring.public_keys)
        # The log's name as last read, and what the file says, as far as we know.
        self._named: tuple[str, str] | None = None
        self._kept: KnownLog | None = None
        self._waiting: LedgerError | None = None
        self._failed = ""
        self._swept = False
        self._going = False

    # -- comparing

    async def check(self) -> None:
        """Compare the log with the guard; on a contradiction the ledger refuses.

        Likewise where the guard was changed, or the log does not prove itself.

        Raises:
            Unavailable: the ledger cannot be read now.
        """
        try:
            await self._check()
        except LedgerError as error:
            self.ledger.memory.refusal = error

    async def _check(self) -> None:
        name, path = self.ledger.name, self._file.path
        claims = await anyio.to_thread.run_sync(self._claims)
        view = await self.ledger.log(*(log.size for log in claims))
        for log in claims:
            why = self._contradiction(log, view)
            if why is not None:
                raise restored(name, f"{why} ({path})")
        if not claims and view.tree.size:
            _log.warning(
                "there is no guard at %s: whether %s was restored to an older state "
                "cannot be told",
                path,
                name,
            )
        self._kept = claims[0] if claims else None
        found = self.known(view)
        self._named = (found.incarnation, found.origin)
        self.ledger.memory.saw(found.size, bytes.fromhex(found.leaf))
        self._wait_for(view)
        self.ledger.memory.noted = self._note

    def _claims(self) -> list[KnownLog]:
        """Return what is known outside: the guard's, then what the dead have left."""
        guard = self._file.read()
        claims = [] if guard is None else [guard.log]
        return claims + [note.log for _, note in self._notes.left()]

    def _note(self) -> None:
        """Note what was just committed, in the thread that writes."""
        if self._named is None:
            return
        size, leaf = self.ledger.memory.seen
        log = KnownLog(*self._named, size, leaf.hex(), "")
        try:
            self._notes.note(log, self._clock.now())
        except Exception as error:  # noqa: BLE001 - what is committed must be answered
            _log.error("a commit was not noted: %s", type(error).__name__)

    async def close(self) -> None:
        """Write what this process has seen to its end; the ledger is closed."""
        await self._remember()
        if self._failed == "":
            self._notes.close()

    async def keep(self) -> None:
        """Compare the log with what this process knows, and write what is new.

        Where it cannot be read, or is not the one known, what was seen is written.

        Raises:
            GrantledgerError: the log cannot be read now, or is not the one known.
        """
        try:
            await self._keep()
        except GrantledgerError:
            await self._remember()
            raise

    async def _keep(self) -> None:
        if self._going:
            return  # what is outside stays the evidence until the log is continued
        memory = self.ledger.memory
        if memory.refusal is not self._waiting:
            memory.admit()
        seen, kept = memory.seen, self._kept
        view = await self.ledger.log(seen[0], *([kept.size] if kept else []))
        memory.compare(seen, view.tree.size, view.leaf(seen[0]))
        if kept is not None:
            why = self._contradiction(kept, view)
            if why is not None:
                memory.refusal = restored(self.ledger.name, why)
                memory.admit()
        self._wait_for(view)
        if self._waiting is None:
            found = self.known(view)
            self._named = (found.incarnation, found.origin)
            await self._write(found)

    def _contradiction(self, known: KnownLog, view: LogView) -> str | None:
        leaf = view.leaf(known.size)
        return contradiction(
            known,
            self.known(view),
            None if leaf is None else leaf.hex(),
            view.life.continuations,
        )

    def _wait_for(self, view: LogView) -> None:
        """Refuse as long as a continuation has grants left to quarantine."""
        memory = self.ledger.memory
        if not view.life.unfinished:
            if memory.refusal is self._waiting:
                memory.refusal = None
            self._waiting = None
        elif self._waiting is None:
            self._waiting = LedgerRestored(
                f"{self.ledger.name} was restored, and its grants are not all "
                "quarantined yet: run `grantledger continue` to its end"
            )
            memory.refusal = self._waiting

    def known(self, view: LogView) -> KnownLog:
        """Return the log of a view, under the name that it has now."""
        incarnation = view.incarnation
        origin = f"{self._origin}/{incarnation}"
        if view.life.continuations:
            newest = view.life.continuations[-1]
            incarnation, origin = newest.incarnation, newest.origin
        size = view.tree.size
        leaf = view.leaf(size)
        if size and leaf is None:
            raise IntegrityError(
                f"the log's head names leaf {size - 1}, which {self.ledger.name} lacks"
            )
        return KnownLog(
            incarnation,
            origin,
            size,
            leaf.hex() if leaf else "",
            view.tree.root().hex(),
        )

    async def origin(self) -> str:
        """Return the log's name as of now."""
        return self.known(await self.ledger.log()).origin

    # -- writing

    async def _remember(self) -> None:
        """Write what this process has seen itself: it may be the only one who has."""
        (size, leaf), kept = self.ledger.memory.seen, self._kept
        if self._named is not None and size > (kept.size if kept else 0):
            await self._write(KnownLog(*self._named, size, leaf.hex(), ""))

    async def _write(self, log: KnownLog) -> None:
        kept = self._kept
        if kept is not None and (kept.incarnation, kept.size) == (
            log.incarnation,
            log.size,
        ):
            return
        signer = self._ring.signer()
        # Without its root, and so where the log is not the one known, none is signed.
        note = "" if signer is None or not log.root else _signed(log, signer)
        now = self._clock.now()
        try:
            await anyio.to_thread.run_sync(self._file.write, log, note, now)
        except (OSError, GrantledgerError) as error:
            if self._failed != str(error):
                self._failed = str(error)
                _log.error("the guard %s cannot be written: %s", self._file.path, error)
            return
        self._failed = ""
        self._kept = log
        if not self._swept:
            self._swept = True
            await anyio.to_thread.run_sync(self._notes.sweep, log)

    # -- signing

    def signer(self) -> Signer:
        """Return what signs checkpoints.

        Raises:
            ConfigurationError: the key ring has no signing key.
        """
        signer = self._ring.signer()
        if signer is None:
            raise ConfigurationError(
                "the key ring has no signing key; `grantledger keys complete` adds one",
                "keys",
            )
        return signer

    async def checkpoint(self) -> str:
        """Return a signed checkpoint of the log as it is now.

        Raises:
            LedgerRestored: the log is not the one known: nothing is signed.
            ConfigurationError: the key ring has no signing key.
        """
        return (await self.signed())[1]

    async def signed(self) -> tuple[KnownLog, str]:
        """Return the log as it is now, and a signed checkpoint of it.

        During a key's rotation the old key signs as well.

        Raises:
            LedgerRestored, ConfigurationError: as `checkpoint`.
            IntegrityError: it does not begin with what was published before.
        """
        self.signer()
        await self.keep()
        self.ledger.memory.admit()
        view = await self.ledger.log()
        log = self.known(view)
        checkpoint = Checkpoint(log.origin, log.size, bytes.fromhex(log.root))
        return log, await self._noted(checkpoint, view)

    async def _noted(self, checkpoint: Checkpoint, view: LogView) -> str:
        self.signer()
        await self._before.admit(checkpoint)
        replaced = dict(view.life.replaced)
        signers = self._ring.signers(self._clock.now(), self._overlap, replaced)
        return signed_note(checkpoint, *signers)

    async def sign(self, size: int, root: bytes) -> tuple[str, str]:
        """Return (origin, signed checkpoint) of a copy of the log, proven to be one.

        Raises:
            LedgerRestored: the log is not the one known: nothing is signed.
            ConfigurationError: the key ring has no signing key.
        """
        self.ledger.memory.admit()
        view = await self.ledger.log()
        origin = self.known(view).origin
        return origin, await self._noted(Checkpoint(origin, size, root), view)

    def vouch(self, published: Published) -> None:
        """Return where a stored checkpoint is one that this log's keys have signed.

        Raises:
            IntegrityError, WrongKey: see `PublishedBefore.vouch`.
        """
        self._before.vouch(published)

    def public_keys(self) -> Sequence[bytes]:
        """Return the public keys that checkpoints of this log may be signed with."""
        return self._ring.public_keys()

    def origins(self, view: LogView) -> dict[str, Continuation | None]:
        """Return every origin that the log has had, each with what ended it.

        That of a log which was lost altogether is among them.
        """
        ends = view.life.continuations
        names = [f"{self._origin}/{view.incarnation}", *(c.origin for c in ends)]
        lost: dict[str, Continuation | None] = {c.known_origin: c for c in ends}
        return lost | dict(zip(names, [*ends, None], strict=True))

    async def verifier_key(self) -> str:
        """Return the text by which others check the log's checkpoints.

        Raises:
            ConfigurationError: the key ring has no signing key.
        """
        log = self.known(await self.ledger.log())
        return verifier_key(log.origin, self.signer().public_key)

    # -- going on

    async def go_on(
        self,
        context: Callable[[], Context],
        reason: str,
        ticket: str | None,
        *,
        force: bool = False,
    ) -> Continued:
        """Go on with a log that is not the one known, under another origin.

        Every usable grant is quarantined, and what was erased is erased again.

        Args:
            context: surroundings of a decision of the operator.
            reason: in words; stored sealed.
            ticket: of the operator's own system; stored sealed.
            force: although nothing outside contradicts the log, such as on a new
                machine that has no guard.

        Raises:
            InvalidRequest: the log is the one known, and `force` was not said.
            IntegrityError: the guard was changed, or a grant does not prove itself.
        """
        claims = await anyio.to_thread.run_sync(self._claims)
        view = await self.ledger.log(*(log.size for log in claims))
        found = self.known(view)
        contradicting = [log for log in claims if self._contradiction(log, view)]
        differs = bool(contradicting)
        known = max(contradicting, key=lambda log: log.size, default=found)
        if not (differs or force or view.life.unfinished):
            raise InvalidRequest(
                f"{self.ledger.name} is the log that is known outside, {found.size} "
                "leaves: there is nothing to continue; --force does it all the same",
                "force",
            )
        going = Continuing(
            self.ledger, context, self._ids.uuid, _together, self.erase_again
        )
        resumes = view.life.unfinished and not differs
        log = Found(known, found, self._origin, resumes)
        memory = self.ledger.memory
        refused, self._going = memory.refusal, True
        memory.refusal = self._waiting = None
        memory.saw(found.size, bytes.fromhex(found.leaf))
        try:
            done = await going.go_on(log, reason, ticket)
        except BaseException:
            memory.refusal = refused or restored(self.ledger.name, "not continued yet")
            raise
        finally:
            self._going = False
        self._kept, self._swept = None, False
        await self.keep()
        self.ledger.memory.noted = self._note
        return done


def _signed(log: KnownLog, signer: Signer) -> str:
    checkpoint = Checkpoint(log.origin, log.size, bytes.fromhex(log.root))
    return signed_note(checkpoint, signer)


async def _together(work: Sequence[Awaitable[bool]]) -> Sequence[bool]:
    """Run all of it to its end, then raise the first failure, if there is one."""
    results = await asyncio.gather(*work, return_exceptions=True)
    done: list[bool] = []
    for result in results:
        if isinstance(result, BaseException):
            raise result
        done.append(result)
    return done
