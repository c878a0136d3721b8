"""A broker over its ledger, opened from settings and closed again."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncGenerator, Mapping
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from datetime import timedelta
from functools import partial
from pathlib import Path

import anyio

from grantledger.adapters.bootstrap.beside import works_beside
from grantledger.adapters.bootstrap.consenting import consent_of, failed, give_back
from grantledger.adapters.bootstrap.guarding import LogGuard
from grantledger.adapters.bootstrap.ledgers import (
    OpenLedger,
    clock_of,
    erasures_of,
    guard_of,
    open_ledger,
    readings_of,
    spool_of,
)
from grantledger.adapters.bootstrap.providers import WiredProvider
from grantledger.adapters.bootstrap.publishing import Publisher
from grantledger.adapters.bootstrap.publishing_to import Audience, publishing
from grantledger.adapters.bootstrap.receivers import Receivers
from grantledger.adapters.bootstrap.regularly import regularly
from grantledger.adapters.bootstrap.wiring import Wiring
from grantledger.adapters.bootstrap.worker import Worker
from grantledger.adapters.keys.clock import RandomIds, SystemClock
from grantledger.adapters.keys.fingerprints import KeyedFingerprinter
from grantledger.adapters.keys.ring import KeyRing
from grantledger.adapters.ledger.access_file import AccessFile
from grantledger.adapters.ledger.runner import TaskRunner
from grantledger.adapters.ledger.spool import FileSpool
from grantledger.adapters.ledger.stored_ledger import StoredLedger
from grantledger.adapters.settings import Settings
from grantledger.adapters.telemetry.watch import UNWATCHED, Watch
from grantledger.adapters.upstream.consent import (
    ConsentRefused,
    ConsentSession,
    ConsentStart,
)
from grantledger.domain.announcing import Announcing
from grantledger.domain.answers import UpstreamFailure
from grantledger.domain.broker import Broker
from grantledger.domain.errors import (
    GrantledgerError,
    InvalidRequest,
    LedgerError,
)
from grantledger.domain.ports import Clock, Ids
from grantledger.domain.requests import Caller
from grantledger.domain.surroundings import Provider, Surroundings
from grantledger.domain.user_grant import UserGrant

DRAIN_SECONDS = 15.0
GUARD_SECONDS = 1.0
"""How often the log, and the key ring's file, are looked at."""

_log = logging.getLogger("grantledger.bootstrap")


@dataclass(frozen=True, slots=True)
class OpenBroker:
    """A broker with its ledger and providers; leave `open_broker` to close it.

    Attributes:
        ring: the keys in use.
        guard: keeps what is known of the log outside its database.
        receivers: who is told of revocations; `announcing` tells them.
        unread: answers on disk that could not be opened, and why; each stays where
            it is, for a person to look at.
    """

    broker: Broker
    ledger: StoredLedger
    wiring: Wiring
    worker: Worker
    runner: TaskRunner
    clock: Clock
    guard: LogGuard
    ring: KeyRing
    receivers: Receivers
    announcing: Announcing
    publisher: Publisher
    unread: Mapping[Path, LedgerError] = field(default_factory=dict[Path, LedgerError])

    @property
    def providers(self) -> Mapping[str, WiredProvider]:
        """The providers of the settings, by name."""
        return self.wiring.wired

    async def start_consent(self, provider: str, redirect_uri: str) -> ConsentStart:
        """Return where to send the user's browser, and what to remember.

        A dynamically registered client is registered or renewed first.

        Raises:
            InvalidRequest: no such provider, or a redirect URI that is not safe.
            UpstreamRejected: the server refuses the client or its metadata is wrong.
            Unavailable: the server cannot be reached now.
        """
        self.broker.env.provider(provider)
        await self.ledger.writable()
        await self.wiring.register(provider, redirect_uri)
        wired = self.providers[provider]
        start = await wired.consent.start(
            redirect_uri=redirect_uri, scopes=wired.scopes, resource=wired.resource
        )
        if isinstance(start, UpstreamFailure):
            raise failed(start)
        return start

    async def finish_consent(
        self,
        caller: Caller,
        provider: str,
        session: ConsentSession,
        parameters: Mapping[str, str],
        *,
        label: str = "default",
    ) -> UserGrant:
        """Redeem the code that a browser brought back, and store the consent.

        The subject is the verified `sub`, nothing else. Tokens that no verified
        subject can be named for, or that are not stored, are given back to the
        server. A caller that goes away stops none of it.

        Raises:
            InvalidRequest: no such provider; state, issuer or code is not right; the
                user refused; or the server gave no refresh token, so that nothing was
                provisioned.
            InvalidSubjectToken: the ID token does not verify.
            UpstreamRejected: the server refused the code or the client.
            Unavailable: nothing was stored; start again.
        """
        self.broker.env.provider(provider)
        # Before the code is spent on tokens that could not be stored.
        await self.ledger.writable()
        return await self.runner.shared(
            object(),
            lambda: self._finish(caller, provider, session, parameters, label),
        )

    async def _finish(
        self,
        caller: Caller,
        provider: str,
        session: ConsentSession,
        parameters: Mapping[str, str],
        label: str,
    ) -> UserGrant:
        wired = await self.wiring.current(provider)
        budget = wired.provider.rules.http_budget_seconds
        code = await wired.consent.finish(session, parameters, budget_seconds=budget)
        if isinstance(code, ConsentRefused):
            raise InvalidRequest(f"consent was refused: {code.error}", "consent")
        if isinstance(code, UpstreamFailure):
            raise failed(code)
        try:
            consent = await consent_of(wired, session, code, label)
            return await self.broker.provision(caller, consent)
        except GrantledgerError:
            await give_back(wired, code.answer, budget)
            raise


def key_ring(settings: Settings) -> KeyRing:
    """Return the key ring that the settings name.

    Raises:
        ConfigurationError: it is missing, readable by others, or malformed.
    """
    text = settings.keyring_text
    if text is not None:
        return KeyRing.parse(text[0], text[1])
    return KeyRing.load(settings.keyring_file)


@asynccontextmanager
async def open_broker(
    settings: Settings,
    *,
    clock: Clock | None = None,
    ids: Ids | None = None,
    tend: bool = True,
    rotate: bool = True,
    opening: OpenLedger = open_ledger,
    watch: Watch = UNWATCHED,
) -> AsyncGenerator[OpenBroker]:
    """Open the ledger and run a broker over it; on leaving, drain and close.

    Args:
        settings: see `grantledger.adapters.settings`.
        clock: time; the machine's own by default.
        ids: randomness; the machine's own by default.
        tend: look after what is owed in the background: lost leases, obligations,
            clients that are to be renewed.
        rotate: beside that, rotate in time, watch for expiry, renew hot tokens.
        opening: how the ledger is opened, where not as the settings say alone.
        watch: sees what the broker does; nobody by default.

    Raises:
        ConfigurationError: a setting is wrong; nothing was opened.
        LedgerError: the ledger cannot be used, or the keys are not its own.
        Unavailable: it cannot be used now.
    """
    clock = clock_of(settings, clock or SystemClock())
    ids = ids or RandomIds()
    ring = key_ring(settings)
    said = settings.file
    spool = spool_of(settings)
    erasures = erasures_of(settings, ring)
    runner = TaskRunner()
    wiring = Wiring(settings, ring, clock, ids, runner, watch)
    ledger, clock = opening(settings, ring, clock, ids)
    if watch is not UNWATCHED:
        ledger.watched_by(watch)
    guard = LogGuard(
        guard_of(settings),
        ring,
        ledger,
        clock,
        ids,
        said.log.origin,
        timedelta(days=said.log.overlap_days),
    )
    unread = Unread()
    receivers = Receivers(settings, clock)
    audience = Audience(settings)
    worker: Worker | None = None
    guarding: asyncio.Task[None] | None = None
    try:
        await guard.check()
        await wiring.load(ledger)
        env = Surroundings(
            ledger=watch.ledger(ledger),
            duties=ledger.duties,
            clock=clock,
            ids=ids,
            fingerprints=KeyedFingerprinter(ring),
            runner=runner,
            spool=FileSpool(spool, ring, unread.add),
            providers=wiring.providers,
            node=settings.recorded_node,
            policy=settings.policy,
            release_limit_seconds=said.broker.release_limit_seconds,
            spool_after_seconds=said.broker.spool_after_seconds,
            wait_seconds=said.broker.wait_seconds,
            cache_grants=said.broker.cache_grants,
            cache_bytes=said.broker.cache_megabytes * 1_000_000,
            maintenance=ledger,
            fleet=ledger,
            audit=ledger,
            erasures=erasures,
            backup_days=said.ledger.backup_days,
            archive_days=said.ledger.archive_days,
            lives=ledger,
            elsewhere=(
                None
                if ledger.appends
                else AccessFile(readings_of(settings), clock.monotonic)
            ),
        )
        broker = Broker(env)
        await _begin(broker, takes=ledger.memory.refusal is None and ledger.appends)
        keep = partial(_keep, ring, guard, broker)
        guarding = asyncio.create_task(
            regularly(keep, lambda: GUARD_SECONDS, "the guard")
        )
        announcing = Announcing(env, ledger.duties, ledger, receivers.by_name)
        worker = Worker(
            broker,
            wiring,
            said.worker,
            ledger.writable,
            watch,
            works_beside(
                announcing, receivers, env, said.retention if rotate else None
            ),
        )
        if tend:
            worker.start(rotating=rotate)
        async with publishing(
            env, guard, said.log, audience, watch, start=tend and rotate
        ) as publisher:
            yield OpenBroker(
                broker,
                ledger,
                wiring,
                worker,
                runner,
                clock,
                guard,
                ring,
                receivers,
                announcing,
                publisher,
                unread.files,
            )
    finally:
        with anyio.CancelScope(shield=True):
            if worker is not None:
                await worker.stop()
            if guarding is not None:
                guarding.cancel()
                await asyncio.gather(guarding, return_exceptions=True)
            await runner.drain(
                drain_seconds(wiring.providers, said.broker.spool_after_seconds)
            )
            try:
                await wiring.aclose()
                await receivers.aclose()
                with suppress(GrantledgerError):  # said already, or at the next start
                    await guard.keep()
            finally:
                await ledger.close()
                await guard.close()


def drain_seconds(
    providers: Mapping[str, Provider], spool_after_seconds: float
) -> float:
    """Return how long what is under way may need: answered, and stored or spooled."""
    leases = (p.rules.lease_seconds for p in providers.values())
    return max(DRAIN_SECONDS, max(leases, default=0.0) + spool_after_seconds + 1.0)


async def _keep(ring: KeyRing, guard: LogGuard, broker: Broker) -> None:
    """Take up a key ring that was replaced, and compare the log with what is known.

    What others have erased is dropped from memory.
    """
    if ring.refresh():
        _log.warning("the key ring was replaced, and is in use")
    try:
        await guard.keep()
    finally:
        await broker.forget_erased()


async def _begin(broker: Broker, *, takes: bool) -> None:
    """Follow the log from here on; bring home what an earlier process put on disk.

    What has to stay there is said.

    Args:
        broker: has opened nothing yet.
        takes: whether the ledger takes what is brought.
    """
    with suppress(GrantledgerError):  # a log that cannot be read opens nothing
        await broker.forget_erased()
    if not takes:
        return
    await broker.recover()
    left = await broker.env.spool.waiting()
    if left:
        _log.warning(
            "%d answers stay on disk: their grants or providers are not known here, "
            "or the ledger does not take them",
            len(left),
        )


class Unread:
    """Answers on disk that cannot be opened: kept, and told of once.

    One file must not keep the others, or the whole broker, from what is due.
    """

    def __init__(self) -> None:
        self.files: dict[Path, LedgerError] = {}

    def add(self, path: Path, error: LedgerError) -> None:
        """Take note of a file."""
        if path not in self.files:
            self.files[path] = error
            _log.error("an answer on disk cannot be read and is kept: %s", error)
