"""What `benchmarks.growth` does to one filled ledger, again and again."""

from __future__ import annotations

import os
import random
import sqlite3
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import partial
from uuid import UUID

import httpx

from benchmarks.ballast import Ballast, refreshed
from benchmarks.cast import SCOPES
from benchmarks.opened import CALLER, Where
from grantledger.adapters.bootstrap import OpenBroker
from grantledger.adapters.bootstrap.tracing import LEAST_NEAR, Asked, trace_token
from grantledger.adapters.console.app import build_console
from grantledger.adapters.console.sessions import ConsoleSession, Sessions
from grantledger.adapters.console.visitors import ROOT, Console
from grantledger.adapters.http.edge import Edge
from grantledger.adapters.http.streams import Streams
from grantledger.adapters.keys.cookies import CookieSealer
from grantledger.domain.ports import AppendVerdict, Lane
from grantledger.domain.requests import Caller, TokenRequest
from grantledger.domain.user_grant import UserGrant
from grantledger.domain.values import AccessToken, GrantKey, Secret

ORIGIN = "http://console"
ASKS = Caller(CALLER, peer_ip="198.51.100.4", user_agent="curl/8.5")

Work = Callable[[], Awaitable[object]]
Prepare = Callable[[], Awaitable[Work]]
"""Makes the next call ready; what it returns is timed."""


@dataclass(frozen=True, slots=True)
class Taken:
    """How long one operation took, in milliseconds."""

    p50: float
    p99: float
    calls: int


async def timed(prepare: Prepare, calls: int, seconds: float) -> Taken:
    """Time so many calls, or as many as fit into the time, one at least."""
    waits: list[float] = []
    stop = time.perf_counter() + seconds
    while len(waits) < calls and (not waits or time.perf_counter() < stop):
        work = await prepare()
        start = time.perf_counter()
        await work()
        waits.append(time.perf_counter() - start)
    waits.sort()
    last = len(waits) - 1
    return Taken(
        1000 * waits[len(waits) // 2],
        1000 * waits[min(last, len(waits) * 99 // 100)],
        len(waits),
    )


class Raw:
    """A plain connection to the store, for the SELECTs to compare with."""

    def __init__(self, where: Where) -> None:
        self._lite: sqlite3.Connection | None = None
        self._post = None
        if where.file is not None:
            self._lite = sqlite3.connect(where.file)
        elif where.place is not None:
            self._post = where.place.connect()

    def close(self) -> None:
        """Close it."""
        for one in (self._lite, self._post):
            if one is not None:
                one.close()

    def bytes(self) -> int:
        """Return what the ledger takes on the disk, its write-ahead log left out."""
        if self._lite is not None:
            pages = self._lite.execute("PRAGMA page_count").fetchone()[0]
            return int(pages) * int(
                self._lite.execute("PRAGMA page_size").fetchone()[0]
            )
        assert self._post is not None
        row = self._post.execute(
            b"SELECT sum(pg_total_relation_size(oid))::bigint FROM pg_class"
            b" WHERE relnamespace = current_schema()::regnamespace AND relkind = 'r'"
        ).fetchone()
        assert row is not None
        return int(row[0])

    def events(self, grant_id: UUID) -> int:
        """Read the events of a grant by the index; return how many."""
        if self._lite is not None:
            return len(
                self._lite.execute(
                    "SELECT rowid, topic, state, leaf_hash FROM stored_events"
                    " WHERE originator_id=? ORDER BY originator_version",
                    (grant_id.hex,),
                ).fetchall()
            )
        assert self._post is not None
        return len(
            self._post.execute(
                b"SELECT notification_id, topic, state, leaf_hash FROM stored_events"
                b" WHERE originator_id=%s ORDER BY originator_version",
                (grant_id,),
                prepare=True,
            ).fetchall()
        )

    def token(self, mark: str) -> int:
        """Find a fingerprint by the index of tokens; return how many have it."""
        if self._lite is not None:
            return len(
                self._lite.execute(
                    "SELECT grant_id, kind, leaf_index FROM token_index"
                    " WHERE fingerprint=?",
                    (mark,),
                ).fetchall()
            )
        assert self._post is not None
        return len(
            self._post.execute(
                b"SELECT grant_id, kind, leaf_index FROM token_index"
                b" WHERE fingerprint=%s",
                (mark,),
                prepare=True,
            ).fetchall()
        )

    def trail(self, grant_id: UUID) -> int:
        """Read every leaf that speaks of a grant by the trail's index."""
        if self._lite is not None:
            return len(
                self._lite.execute(
                    "SELECT e.state FROM stored_events e JOIN"
                    " (SELECT DISTINCT leaf_index FROM audit_rows"
                    " WHERE side=0 AND grant_id=?) a"
                    " ON e.rowid = a.leaf_index + 1",
                    (grant_id.hex,),
                ).fetchall()
            )
        assert self._post is not None
        return len(
            self._post.execute(
                b"SELECT e.state FROM stored_events e JOIN (SELECT DISTINCT leaf_index"
                b" FROM audit_rows WHERE side=0 AND grant_id=%s) a"
                b" ON e.notification_id = a.leaf_index + 1",
                (grant_id.hex,),
                prepare=True,
            ).fetchall()
        )


class Side:
    """One filled ledger, and every operation on it.

    Attributes:
        name: how large it is, in words.
        ballast: what it holds.
        trail: whether the audit trail is made up to the log.
    """

    def __init__(
        self,
        name: str,
        where: Where,
        broker: OpenBroker,
        ballast: Ballast,
        *,
        trail: bool = True,
    ) -> None:
        self.name = name
        self.trail = trail
        self.ballast = ballast
        self.where = where
        self._broker = broker
        self._ledger = broker.ledger
        self._mark = broker.broker.env.fingerprints.fingerprint
        self._random = random.Random(5)  # noqa: S311 - which grants are asked for, nothing secret
        self.raw = Raw(where)
        self._client = _visitor(broker, where)

    async def close(self) -> None:
        """Close what was opened here."""
        self.raw.close()
        await self._client.aclose()

    async def caught_up(self) -> None:
        """Bring the audit trail up to the log, where there is one."""
        if self.trail:
            await self._ledger.complete_audit()

    async def sizes(self) -> Mapping[str, float]:
        """Return how large it is."""
        size = await self._ledger.size()
        events = self.ballast.events + self.ballast.hand_outs
        there = self.raw.bytes()
        return {
            "grants": len(self.ballast.grants),
            "events": events,
            "hand_outs": self.ballast.hand_outs,
            "leaves": size,
            "bytes": there,
            "bytes_an_event": there / events,
            "fill_seconds": self.ballast.seconds,
        }

    def operations(self) -> dict[str, Prepare]:
        """Return what is timed, by name."""
        return {
            "hand-out": self._hand_out,
            "hand-out, not in memory": self._cold,
            "append": self._append,
            "as-of, by position": self._as_of,
            "as-of, by time": self._as_of_time,
            "SELECT of a grant's events": self._select_events,
            "token found": self._find,
            "SELECT of a token": self._select_token,
            "trace": self._trace,
            "SELECT of a grant's leaves": self._select_trail,
            "console: grants": self._page,
            "console: one grant": self._grant_page,
        }

    def long(self, grant: UserGrant, events: int) -> dict[str, Prepare]:
        """Return what is timed of one grant with a history of its own."""
        subject = f"long-{events}"

        async def hand_out() -> Work:
            return lambda: self._asked(subject)

        async def as_of() -> Work:
            version = self._random.randrange(1, grant.version)
            return lambda: self._ledger.as_of(grant.id, version=version)

        async def page() -> Work:
            return lambda: self._got(f"/grants/{grant.id}")

        async def trace(near: int | None = None) -> Work:
            asked = Asked(token=_newest_token(grant), near=near)
            return lambda: trace_token(self._broker, ASKS, asked)

        async def append() -> Work:
            stored = await self._ledger.get(grant.id)
            assert stored is not None
            draft = refreshed(stored, datetime.now(UTC), self._mark, 86_400)
            return lambda: self._appended(draft)

        return {
            "hand-out": hand_out,
            "append": append,
            "as-of, by version": as_of,
            "console: one grant": page,
            "trace, near": partial(trace, LEAST_NEAR),
            "trace": trace,
        }

    # -- of probes

    def _probe(self) -> UserGrant:
        return self._random.choice(self.ballast.probes)

    async def _hand_out(self) -> Work:
        subject = f"probe-{self._random.randrange(len(self.ballast.probes))}"
        return lambda: self._asked(subject)

    async def _as_of(self) -> Work:
        probe = self._probe()
        position = self._random.randrange(await self._ledger.size())
        return lambda: self._ledger.as_of(probe.id, position=position)

    async def _as_of_time(self) -> Work:
        probe = self._probe()
        at = datetime.now(UTC) - timedelta(hours=self._random.uniform(1, 24 * 29))
        return lambda: self._ledger.as_of(probe.id, at=at)

    async def _trace(self) -> Work:
        asked = Asked(token=_newest_token(self._probe()))
        return lambda: trace_token(self._broker, ASKS, asked)

    async def _grant_page(self) -> Work:
        probe = self._probe()
        return lambda: self._got(f"/grants/{probe.id}")

    async def _select_events(self) -> Work:
        grant_id = self._probe().id
        return _at_once(lambda: self.raw.events(grant_id))

    async def _select_trail(self) -> Work:
        grant_id = self._probe().id
        return _at_once(lambda: self.raw.trail(grant_id))

    # -- of any grant

    def _some(self) -> int:
        return self._random.randrange(len(self.ballast.grants))

    async def _cold(self) -> Work:
        number = self._some()
        key = GrantKey("bench", f"user-{number}")
        hand_outs = self._broker.broker._hand_outs  # noqa: SLF001 - a miss is measured
        hand_outs.forget(key)
        return lambda: self._asked(key.subject)

    async def _append(self) -> Work:
        grant = await self._ledger.get(self.ballast.grants[self._some()])
        assert grant is not None
        draft = refreshed(grant, datetime.now(UTC), self._mark, 86_400)
        return lambda: self._appended(draft)

    async def _find(self) -> Work:
        token = f"access-user-{self._some()}"

        async def find() -> None:
            assert await self._ledger.find_token(token) is not None

        return find

    async def _select_token(self) -> Work:
        mark = (await self._ledger.fingerprints(f"access-user-{self._some()}"))[-1]
        return _at_once(lambda: self.raw.token(mark))

    async def _page(self) -> Work:
        after = self._random.choice(self.ballast.grants)
        return lambda: self._got(f"/grants?after={after}")

    # -- how

    async def _asked(self, subject: str) -> None:
        request = TokenRequest(GrantKey("bench", subject), SCOPES)
        await self._broker.broker.hand_out(ASKS, request)

    async def _appended(self, draft: UserGrant) -> None:
        verdict = await self._ledger.append(draft, Lane.OUTCOME)
        assert verdict is AppendVerdict.COMMITTED

    async def _got(self, path: str) -> None:
        answer = await self._client.get(f"{ROOT}{path}")
        assert answer.status_code == httpx.codes.OK, answer.status_code


def _newest_token(grant: UserGrant) -> Secret:
    token = grant.state.access_tokens[-1].token
    assert isinstance(token, AccessToken)
    return Secret(token.reveal())


def _at_once(read: Callable[[], int]) -> Work:
    """Return a call that reads in this thread: nothing is between it and the store."""

    async def work() -> None:
        assert read()

    return work


def _visitor(broker: OpenBroker, where: Where) -> httpx.AsyncClient:
    """Return a browser that has come in to the console of this broker."""
    sealer = CookieSealer(broker.ring, os.urandom)
    sessions = Sessions(sealer, secure=False, local=True)
    settings = where.settings
    edge = Edge(settings.file.http, broker.clock.now)
    console = Console(broker, settings, sessions, ORIGIN, edge, Streams())
    session = ConsoleSession(
        id="1",
        csrf="0" * 64,
        caller="console:bench",
        name="bench",
        method="link",
        local=True,
        issued_at=datetime.now(UTC),
    )
    name, _, value = sessions.begin(session).partition(";")[0].partition("=")
    transport = httpx.ASGITransport(build_console(console))
    return httpx.AsyncClient(
        transport=transport, base_url=ORIGIN, cookies={name: value}
    )


def names(sides: Sequence[Side]) -> list[str]:
    """Return what is timed on every side."""
    return list(sides[0].operations())
