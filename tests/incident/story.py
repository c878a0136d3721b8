"""The golden incident: a week of a broker, a theft in it, and what else went on.

It goes through the real broker over a real ledger file; the clock and the
authorization server are the story's. `cast` says who and when.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncGenerator, Awaitable, Iterable, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from pathlib import Path

from grantledger.adapters.bootstrap import OpenBroker, open_broker
from grantledger.adapters.keys.ring import KeyRing
from grantledger.adapters.keys.ringtext import KeyUse
from grantledger.adapters.ledger import datastore
from grantledger.adapters.ledger.runner import TaskRunner
from grantledger.adapters.settings import parse
from grantledger.domain.audit_access import AuditUse
from grantledger.domain.broker import Broker
from grantledger.domain.delegation import ActingParty
from grantledger.domain.errors import Denied, GrantledgerError
from grantledger.domain.policy import Operation
from grantledger.domain.requests import Caller, HandedOut, TokenRequest
from grantledger.domain.surroundings import Surroundings
from grantledger.domain.user_grant import Consent
from grantledger.domain.values import (
    DEFAULT_LABEL,
    AccessToken,
    GrantKey,
    RefreshToken,
    RevocationReason,
    Scopes,
    parse_scopes,
)
from tests.incident.cast import (
    AGENT_CALLER,
    ASKING,
    BACKUP,
    CLIENT_ID,
    CLOCK_BACK,
    CLOCK_BACK_SECONDS,
    CONFIRMED,
    END,
    ERASED,
    INES,
    INSIDER,
    KEY_CHANGED,
    MARA,
    OUTAGE,
    OUTAGE_OVER,
    PORTAL,
    PROVIDER,
    REUSED,
    REVOKED,
    ROLF,
    SCOPES,
    SETTINGS,
    SYNC,
    THEFT,
    THIEF,
    TICKET,
    USERS,
    Told,
    at,
)
from tests.incident.server import StoryServer

LAST_DAY = 4
OFFICE_HOURS = tuple(range(8, 18))


class StoryClock:
    """The Clock port: stands still until the story moves it on.

    Attributes:
        stepped: seconds that the wall clock is off.
    """

    def __init__(self, begins: datetime) -> None:
        self._begins = self._at = begins
        self.stepped = 0.0

    def now(self) -> datetime:
        return self._at + timedelta(seconds=self.stepped)

    def monotonic(self) -> float:
        return (self._at - self._begins).total_seconds()

    def to(self, moment: datetime) -> None:
        """Let time pass until then; it never runs back."""
        assert moment >= self._at, (moment, self._at)
        self._at = moment


def prepare(directory: Path, begins: datetime) -> None:
    """Make settings, key ring and ledger."""
    (directory / "grantledger.toml").write_text(SETTINGS, encoding="utf-8")
    (directory / f"{PROVIDER}.secret").write_text("not-asked-for", encoding="utf-8")
    KeyRing.generate(os.urandom, begins).save(directory / "keyring.json")
    datastore.create(directory / "grantledger.db")


async def tell(directory: Path) -> Told:
    """Let the whole story happen in a fresh directory."""
    clock = StoryClock(at(0, 7, 55))
    prepare(directory, clock.now())
    server = StoryServer(clock.now)
    told = Told()
    async with _opened(directory, clock, server, told) as story:
        await story.first_days()
    path = directory / "keyring.json"
    ring = KeyRing.load(path)
    first = ring.active_id(KeyUse.FINGERPRINT)
    clock.to(KEY_CHANGED)
    changed = ring.rotated(KeyUse.FINGERPRINT, clock.now())
    changed.save(path, overwrite=True)
    told.keys = (first, changed.active_id(KeyUse.FINGERPRINT))
    async with _opened(directory, clock, server, told) as story:
        await story.outage()
        await story.wednesday()
        await story.insider()
        await story.keep_checkpoint("wednesday")
        await story.theft()
        await story.aftermath()
        await story.keep_checkpoint("friday")
    with (directory / "grantledger.toml").open("a", encoding="utf-8") as settings:
        settings.write(ASKING)
    return told


@asynccontextmanager
async def _opened(
    directory: Path, clock: StoryClock, server: StoryServer, told: Told
) -> AsyncGenerator[Story]:
    settings = parse(SETTINGS, directory, {})
    async with open_broker(settings, clock=clock, tend=False) as opened:
        yield Story(directory, opened, clock, server, told)


@dataclass
class Story:
    """The acts, in their order."""

    directory: Path
    opened: OpenBroker
    clock: StoryClock
    server: StoryServer
    told: Told

    def __post_init__(self) -> None:
        self.a = self._replica("node-a")
        self.b = self._replica("node-b")

    def _replica(self, node: str) -> Broker:
        env: Surroundings = self.opened.broker.env
        provider = replace(
            env.providers[PROVIDER], server=self.server, verifier=self.server
        )
        return Broker(
            replace(env, node=node, runner=TaskRunner(), providers={PROVIDER: provider})
        )

    # -- the acts

    async def first_days(self) -> None:
        """Monday and Tuesday: consents, work as usual, and a benign race."""
        people = ("alice", "bob", "carol", "dave", "erin", "frank", *USERS)
        for number, who in enumerate(people):
            self.clock.to(at(0, 8, number // 2, 30 * (number % 2)))
            await self.consent(who)
        self.clock.to(at(0, 8, 40))
        await self.consent("alice", label="work", scopes=("calendar.read", "openid"))
        await self.office_day(0, range(9, 18))
        await self.office_day(1, range(8, 10))
        self.clock.to(at(1, 10))
        # Two replicas at once, and no token at hand: one of them redeems.
        await self.expect_all(
            [self.token(broker, SYNC, "bob") for broker in (self.a, self.b)]
        )
        await self.office_day(1, range(11, 18))

    async def outage(self) -> None:
        """Tuesday night: the server does not answer, and checkpoints are late."""
        self.clock.to(OUTAGE)
        self.server.trouble.update({"*": "busy", "dave": "silent"})
        for who in (*USERS[:6], "dave"):
            await self.refused(self.token(self.a, BACKUP, who))
        life = await self.opened.ledger.life()
        life.checkpoint_failed(
            self.a.env.system(), cause="late", published=100, size=400
        )
        await self.opened.ledger.append_life(life)
        self.clock.to(OUTAGE + timedelta(minutes=20))
        # Her request got lost; the next one was answered.
        self.server.trouble["carol"] = "once"
        await self.token(self.a, BACKUP, "carol")
        self.clock.to(OUTAGE_OVER)
        self.server.trouble.clear()
        life = await self.opened.ledger.life()
        life.checkpoint_resumed(self.a.env.system(), published=420)
        await self.opened.ledger.append_life(life)
        for who in USERS[:6]:
            await self.token(self.a, BACKUP, who)

    async def wednesday(self) -> None:
        """Wednesday: dave consents again; a wall clock is set back."""
        await self.office_day(2, range(8, 9))
        self.clock.to(at(2, 9))
        await self.consent("dave")
        await self.office_day(2, range(10, 12))
        await self.office_day(2, range(12, 13), minute=0)
        self.clock.to(CLOCK_BACK + timedelta(seconds=30))
        self.clock.stepped = -CLOCK_BACK_SECONDS
        await self.token(self.a, SYNC, "carol")
        self.clock.to(at(2, 12, 30))
        self.clock.stepped = 0.0
        await self.office_day(2, range(13, 18))

    async def insider(self) -> None:
        """Wednesday night: an administrator looks at what she need not look at."""
        self.clock.to(INSIDER)
        key = GrantKey(PROVIDER, "alice")
        record = self.a.audit_access.record
        await record(MARA, AuditUse.HISTORY, "history of one grant", key=key)
        self.clock.to(INSIDER + timedelta(minutes=4))
        await record(MARA, AuditUse.EXPORT, "csv, everything since Monday")
        self.clock.to(INSIDER + timedelta(minutes=6))
        for operation in (Operation.BULK_REVOKE, Operation.EVIDENCE):
            with suppress(Denied):
                await self.a.authorise(MARA, operation, PROVIDER, "alice")
        self.clock.to(INSIDER + timedelta(minutes=9))
        line = "mara/shadow"
        await self.consent("mara", label="shadow", caller=MARA, line=line)

    async def theft(self) -> None:
        """Thursday: a caller's secret and a refresh token are in the wrong hands."""
        await self.office_day(3, range(8, 13))
        self.clock.to(at(3, 13, 30))
        await self.agent_acts("alice")
        self.clock.to(at(3, 13, 55))
        await self.token(self.a, SYNC, "alice")
        await self.token(self.a, SYNC, "bob")
        self.clock.to(THEFT)
        stolen = await self.token(self.a, THIEF, "alice")
        self.told.stolen_access = stolen.access_token.reveal()
        self.clock.to(THEFT + timedelta(minutes=3))
        await self.token(self.a, THIEF, "alice", label="work")
        await self.token(self.a, THIEF, "bob")
        self.clock.to(THEFT + timedelta(minutes=6))
        for who in ("carol", "erin"):
            await self.refused(self.token(self.a, THIEF, who, scopes=("files.read",)))
        self.clock.to(THEFT + timedelta(minutes=16))
        await self.token(self.b, THIEF, "alice")
        self.told.stolen_refresh = self.server.stolen("alice")
        self.clock.to(REUSED)
        await self.refused(
            self.token(self.a, BACKUP, "alice", scopes=("files.read", "openid"))
        )
        self.clock.to(REVOKED)
        self.server.trouble.update(alice="deaf", bob="deaf")
        for who in ("alice", "bob"):
            await self.revoke(who)
        self.clock.to(REVOKED + timedelta(minutes=4))
        for who in ("alice", "bob"):
            await self.refused(self.token(self.a, THIEF, who))
        self.clock.to(CONFIRMED)
        del self.server.trouble["alice"]
        for who in ("alice", "bob"):
            await self.a.settle(self.told.grants[who])

    async def aftermath(self) -> None:
        """Until Friday: looking into it, an erasure, a new consent, an audit."""
        self.clock.to(at(3, 16))
        key = GrantKey(PROVIDER, "alice")
        record = self.a.audit_access.record
        await record(ROLF, AuditUse.TRACE, "a token, by itself", key=key)
        await record(ROLF, AuditUse.HISTORY, "history of one grant", key=key)
        await self.office_day(4, range(8, 9))
        self.clock.to(ERASED)
        await self.a.erase(PORTAL, GrantKey(PROVIDER, "erin"))
        self.clock.to(at(4, 10))
        await self.consent("alice")
        await self.office_day(4, range(11, 17))
        self.clock.to(END - timedelta(minutes=30))
        await record(INES, AuditUse.READ, "everything since Monday")

    async def keep_checkpoint(self, name: str) -> None:
        """Have somebody else keep a checkpoint of now."""
        note = await self.opened.guard.checkpoint()
        (self.directory / f"{name}.checkpoint").write_text(note, encoding="utf-8")

    # -- what happens in them

    async def consent(
        self,
        who: str,
        *,
        label: str = DEFAULT_LABEL,
        scopes: Sequence[str] = SCOPES,
        caller: Caller = PORTAL,
        line: str = "",
    ) -> None:
        name = who if label == DEFAULT_LABEL else f"{who}/{label}"
        token = self.server.consent(line or name)
        if name == "alice" and not self.told.first_refresh:
            self.told.first_refresh = token
        grant = await self.a.provision(
            caller,
            Consent(
                key=GrantKey(PROVIDER, who, label),
                client_id=CLIENT_ID,
                flow="authorization_code" if caller is PORTAL else "import",
                scopes=parse_scopes(scopes),
                refresh_token=RefreshToken(token),
                refresh_expires_at=(
                    None
                    if name in self.server.endless
                    else self.clock.now() + timedelta(days=30)
                ),
            ),
        )
        self.told.grants[name] = grant.id

    async def token(
        self,
        broker: Broker,
        caller: Caller,
        who: str,
        *,
        label: str = DEFAULT_LABEL,
        scopes: Scopes = (),
    ) -> HandedOut:
        key = GrantKey(PROVIDER, who, label)
        return await broker.hand_out(caller, TokenRequest(key, scopes))

    async def agent_acts(self, who: str) -> None:
        """Have the gateway exchange the user's session for a token of its tool."""
        party = ActingParty("calendar-tool", prior=("planner",))
        got = await self.a.exchange_session(
            AGENT_CALLER,
            PROVIDER,
            AccessToken(self.server.session(who)),
            scopes=("calendar.read",),
            audience="notes",
            actor=party,
        )
        self.told.exchanged = got.access_token.reveal()

    async def revoke(self, who: str) -> None:
        await self.a.revoke(
            ROLF,
            GrantKey(PROVIDER, who),
            reason=RevocationReason.INCIDENT,
            reason_text="handed out to an unknown address",
            ticket=TICKET,
        )

    async def office_day(
        self, day: int, hours: Iterable[int], *, minute: int = 20
    ) -> None:
        """Let the two jobs do their work, each hour for everybody who has a grant."""
        for hour in hours:
            self.clock.to(at(day, hour, minute))
            for caller, broker in ((SYNC, self.a), (BACKUP, self.b)):
                if caller is BACKUP and hour % 3:
                    continue
                await self.expect_all(
                    [self.token(broker, caller, who) for who in self._served()]
                )

    def _served(self) -> list[str]:
        """Return whose tokens the jobs ask for; frank they have forgotten."""
        gone = {"frank"}
        if self.clock.now() > OUTAGE and self.told.grants:
            gone |= {"dave"} if self.clock.now() < at(2, 9) else set()
        if self.clock.now() > REUSED:
            gone |= {"bob", "alice"} if self.clock.now() < at(4, 10) else {"bob"}
        if self.clock.now() > ERASED:
            gone |= {"erin"}
        people = ("alice", "bob", "carol", "dave", "erin", *USERS)
        return [who for who in people if who not in gone]

    @staticmethod
    async def expect_all(works: Iterable[Awaitable[object]]) -> None:
        await asyncio.gather(*works)

    @staticmethod
    async def refused(work: Awaitable[object]) -> None:
        """Let something be refused, for whatever reason; it is on the record."""
        try:
            await work
        except GrantledgerError:
            return
        raise AssertionError("this was to be refused")
