"""A broker over its ledger, opened from settings and closed again."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

import anyio

from grantledger.adapters.bootstrap.providers import WiredProvider
from grantledger.adapters.bootstrap.wiring import Wiring
from grantledger.adapters.keys.clock import RandomIds, SystemClock
from grantledger.adapters.keys.fingerprints import KeyedFingerprinter
from grantledger.adapters.keys.ring import KeyRing
from grantledger.adapters.ledger.rates import Rates
from grantledger.adapters.ledger.runner import TaskRunner
from grantledger.adapters.ledger.spool import FileSpool
from grantledger.adapters.ledger.sqlite_ledger import SqliteLedger
from grantledger.adapters.settings import Settings
from grantledger.adapters.upstream.client import CodeAnswer
from grantledger.adapters.upstream.consent import (
    ConsentRefused,
    ConsentSession,
    ConsentStart,
)
from grantledger.domain.answers import UpstreamFailure
from grantledger.domain.broker import Broker
from grantledger.domain.errors import (
    GrantledgerError,
    InvalidRequest,
    InvalidSubjectToken,
    Unavailable,
    UpstreamRejected,
)
from grantledger.domain.ports import Clock, Ids
from grantledger.domain.requests import Caller
from grantledger.domain.surroundings import Surroundings
from grantledger.domain.user_grant import Consent, UserGrant
from grantledger.domain.values import FailureClass, GrantKey, TokenKind

DRAIN_SECONDS = 15.0
TEND_SECONDS = 1.0
SPOOL_SUFFIX = ".spool"
KEY_PAUSES_SECONDS = (0.2, 1.0)


@dataclass(frozen=True, slots=True)
class OpenBroker:
    """A broker with its ledger and providers; leave `open_broker` to close it."""

    broker: Broker
    ledger: SqliteLedger
    wiring: Wiring
    runner: TaskRunner
    clock: Clock

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
        await self.wiring.register(provider, redirect_uri)
        wired = self.providers[provider]
        start = await wired.consent.start(
            redirect_uri=redirect_uri, scopes=wired.scopes, resource=wired.resource
        )
        if isinstance(start, UpstreamFailure):
            raise _failed(start)
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

        The subject is the verified `sub`, nothing else; tokens that no verified
        subject can be named for are given back to the server.

        Raises:
            InvalidRequest: state, issuer or code is not right; the user refused; or
                the server gave no refresh token, so that nothing was provisioned.
            InvalidSubjectToken: the ID token does not verify.
            UpstreamRejected: the server refused the code or the client.
            Unavailable: nothing was stored; start again.
        """
        wired = self.providers[provider]
        budget = wired.provider.rules.http_budget_seconds
        code = await wired.consent.finish(session, parameters, budget_seconds=budget)
        if isinstance(code, ConsentRefused):
            raise InvalidRequest(f"consent was refused: {code.error}", "consent")
        if isinstance(code, UpstreamFailure):
            raise _failed(code)
        answer = code.answer
        if answer.refresh_token is None:
            raise InvalidRequest(
                "the server gave no refresh token: nothing was provisioned; "
                "does the client have offline_access?",
                "refresh_token",
            )
        subject = await self._identified(wired, session, code, budget)
        expires_at = None
        if answer.refresh_expires_in is not None:
            expires_at = answer.sent_at + timedelta(seconds=answer.refresh_expires_in)
        consent = Consent(
            key=GrantKey(provider, subject, label),
            client_id=wired.config.client_id,
            flow="authorization_code",
            scopes=session.scopes if answer.scopes is None else answer.scopes,
            refresh_token=answer.refresh_token,
            refresh_expires_at=expires_at,
            upstream_subject=subject,
            audience=wired.provider.rules.audience,
            resource=session.resource,
            answer=answer,
        )
        return await self.broker.provision(caller, consent)

    async def _identified(
        self,
        wired: WiredProvider,
        session: ConsentSession,
        code: CodeAnswer,
        budget_seconds: float,
    ) -> str:
        """Return the verified `sub`; tokens that nobody can be named for are revoked.

        Keys that cannot be fetched are asked for again a few times: the code is
        spent, and giving up means another consent.
        """
        for pause in (*KEY_PAUSES_SECONDS, None):
            try:
                return (await wired.consent.identify(session, code)).subject
            except Unavailable:
                if pause is None:
                    await self._give_back(wired, code, budget_seconds)
                    raise
                await anyio.sleep(pause)
            except InvalidSubjectToken:
                await self._give_back(wired, code, budget_seconds)
                raise
        raise AssertionError("unreachable")  # pragma: no cover - the loop returns

    @staticmethod
    async def _give_back(
        wired: WiredProvider, code: CodeAnswer, budget_seconds: float
    ) -> None:
        token = code.answer.refresh_token
        if token is not None:
            await wired.server.revoke(
                token.reveal(), TokenKind.REFRESH, budget_seconds=budget_seconds
            )


def _failed(failure: UpstreamFailure) -> Exception:
    if failure.failure in (FailureClass.TRANSIENT, FailureClass.RATE_LIMITED):
        return Unavailable(f"the server: {failure.error}", failure.retry_after or 1.0)
    if failure.failure is FailureClass.AMBIGUOUS:
        return Unavailable(f"the server: {failure.error}; start again")
    return UpstreamRejected(f"the server: {failure.error}", failure.error)


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
) -> AsyncIterator[OpenBroker]:
    """Open the ledger and run a broker over it; on leaving, drain and close.

    Args:
        settings: see `grantledger.adapters.settings`.
        clock: time; the machine's own by default.
        ids: randomness; the machine's own by default.
        tend: look after lost leases and obligations in the background.

    Raises:
        ConfigurationError: a setting is wrong.
        LedgerError: the ledger cannot be used, or the keys are not its own.
    """
    clock = clock or SystemClock()
    ids = ids or RandomIds()
    ring = key_ring(settings)
    node = settings.node
    said = settings.file.ledger
    path = settings.ledger_path
    ledger = SqliteLedger.open(
        path,
        ring,
        clock,
        ids,
        node=node,
        random=os.urandom,
        rates=Rates(
            hand_outs_per_second=said.hand_outs_per_second,
            denials_per_second=said.denials_per_second,
        ),
        max_queued=said.queue_limit,
    )
    wiring = Wiring(settings, ledger, ring, clock, ids)
    runner = TaskRunner()
    tending: asyncio.Task[None] | None = None
    try:
        for name in settings.file.providers:
            await wiring.add(name)
        policy = settings.policy
        env = Surroundings(
            ledger=ledger,
            clock=clock,
            ids=ids,
            fingerprints=KeyedFingerprinter(ring),
            runner=runner,
            spool=FileSpool(spool_directory(path), ring),
            providers=wiring.providers,
            node=node,
            policy=policy,
            release_limit_seconds=settings.file.broker.release_limit_seconds,
            spool_after_seconds=settings.file.broker.spool_after_seconds,
            wait_seconds=settings.file.broker.wait_seconds,
            cache_grants=settings.file.broker.cache_grants,
        )
        broker = Broker(env)
        await broker.recover()
        opened = OpenBroker(broker, ledger, wiring, runner, clock)
        if tend:
            tending = asyncio.create_task(_tend(broker))
        yield opened
    finally:
        with anyio.CancelScope(shield=True):
            if tending is not None:
                tending.cancel()
            await runner.drain(DRAIN_SECONDS)
            await wiring.aclose()
            await ledger.close()


def spool_directory(ledger: Path) -> Path:
    """Return where answers wait that the ledger of this path could not take."""
    return ledger.with_name(ledger.name + SPOOL_SUFFIX)


async def _tend(broker: Broker) -> None:
    while True:
        await anyio.sleep(TEND_SECONDS)
        try:
            await broker.tend()
        except GrantledgerError:
            # Whatever it was, the next grant that is due must not wait for ever.
            continue
