"""How fast the audit trail is made, beside a bare read of the same leaves.

    python -m benchmarks.projection [--entries 20000] [--per-leaf 20] [--postgres DSN]

Three numbers of one ledger, in rows a second: `read` fetches every leaf and hashes it
once; `catch-up` brings an empty trail up to the log; `rebuild` makes it again beside
itself, compares every row, and swaps. On PostgreSQL a rebuild by two processes is
`rebuild x2`. The ledger is made by its own appends: a redeemed grant for each hundred
entries, then hand-outs with an actor, a chain and an address.
"""

from __future__ import annotations

import argparse
import asyncio
import hashlib
import os
import sqlite3
import tempfile
import time
from collections.abc import Iterable, Sequence
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import NamedTuple
from uuid import uuid4

from grantledger.adapters.bootstrap.rebuilding import filling
from grantledger.adapters.keys.clock import RandomIds, SystemClock
from grantledger.adapters.keys.fingerprints import KeyedFingerprinter
from grantledger.adapters.keys.ring import KeyRing
from grantledger.adapters.ledger import datastore
from grantledger.adapters.ledger.postgres.clock import DatabaseClock
from grantledger.adapters.ledger.postgres.connections import Place
from grantledger.adapters.ledger.postgres.ledger import PostgresLedger
from grantledger.adapters.ledger.postgres.schema import migrate
from grantledger.adapters.ledger.sqlite_ledger import SqliteLedger
from grantledger.adapters.ledger.stored_ledger import StoredLedger
from grantledger.domain.answers import TokenAnswer
from grantledger.domain.context import Context
from grantledger.domain.journal import AccessEntry, EntryPrivate
from grantledger.domain.provider import ProviderRules
from grantledger.domain.user_grant import Consent, UserGrant
from grantledger.domain.values import (
    AccessToken,
    Actor,
    ActorKind,
    GrantKey,
    Outcome,
    Purpose,
    RefreshToken,
    Source,
)

RULES = ProviderRules("bench", "https://as.invalid", "client")
AGENT = Actor(
    "agent-7",
    ActorKind.AGENT,
    ("agent-8",),
    peer_ip="198.51.100.4",
    user_agent="curl/8.5",
)
LIFETIME = timedelta(minutes=10)


class Rate(NamedTuple):
    """One line of the answer.

    Attributes:
        busy: processor time of this process and its children, in seconds: other
            programs on the machine change it least.
    """

    name: str
    rows: int
    seconds: float
    busy: float

    def __str__(self) -> str:
        """Return it in words."""
        return (
            f"{self.name:>11}  {self.rows / self.seconds:10,.0f} rows/s"
            f"  {self.rows / self.busy:10,.0f} rows a CPU second"
        )


class Stopwatch:
    """Counts from when it was made."""

    def __init__(self) -> None:
        self._at = self._now()

    def rate(self, name: str, rows: int) -> Rate:
        """Return how fast so many rows were."""
        wall, busy = self._now()
        return Rate(name, rows, wall - self._at[0], busy - self._at[1])

    @staticmethod
    def _now() -> tuple[float, float]:
        said = os.times()
        busy = said.user + said.system + said.children_user + said.children_system
        return time.perf_counter(), busy


class Bench:
    """One ledger with a history, and where it stands."""

    def __init__(self, folder: Path, conninfo: str | None) -> None:
        self._ring = KeyRing.generate(os.urandom, datetime.now(UTC))
        self._ring.save(folder / "keyring.json")
        self._fingerprint = KeyedFingerprinter(self._ring).fingerprint
        self.config = folder / "grantledger.toml"
        self._place: Place | None = None
        self._path = path = folder / "ledger.db"
        if conninfo is None:
            datastore.create(path)
            self.ledger: StoredLedger = SqliteLedger.open(
                path,
                self._ring,
                SystemClock(),
                RandomIds(),
                node="bench",
                random=os.urandom,
            )
            said = f'ledger.url = "sqlite:///{path}"\n'
        else:
            self._place = place = Place(conninfo, f"trail_{uuid4().hex[:12]}")
            migrate(place)
            self.ledger = PostgresLedger.open(
                place,
                self._ring,
                DatabaseClock(SystemClock()),
                RandomIds(),
                node="bench",
                random=os.urandom,
            )
            said = f'ledger.url = "{conninfo}"\nledger.schema = "{place.schema}"\n'
        self.config.write_text(f'{said}[keys]\nfile = "keyring.json"\n')

    async def fill(self, entries: int, per_leaf: int) -> None:
        """Store hand-outs, so many in one leaf."""
        grants = [await self._redeemed(n) for n in range(max(1, entries // 100))]
        for start in range(0, entries, per_leaf):
            await asyncio.gather(
                *(
                    self.ledger.record(_hand_out(grants[n % len(grants)], n))
                    for n in range(start, min(start + per_leaf, entries))
                )
            )

    async def _redeemed(self, number: int) -> UserGrant:
        key = GrantKey("bench", f"user-{number}")
        consent = Consent(key, "client", "import", ("a", "b"), RefreshToken("r"))
        fingerprint = self._fingerprint
        grant = UserGrant.provision(_ctx(), RULES, uuid4(), consent, fingerprint)
        await self.ledger.append(grant)
        draft = grant.fork()
        intent = draft.intend(
            _ctx(),
            RULES,
            purpose=Purpose.EXCHANGE,
            scopes=("a",),
            audience=None,
            resource=None,
        )
        await self.ledger.append(draft)
        draft = draft.fork()
        answer = TokenAnswer(
            datetime.now(UTC),
            refresh_token=RefreshToken(f"r{number}"),
            access_token=AccessToken(f"a{number}"),
            expires_in=900,
        )
        draft.answered(_ctx(), RULES, intent.attempt_id, answer, fingerprint)
        await self.ledger.append(draft)
        return draft.fork()

    def read(self) -> int:
        """Fetch every leaf and hash it once; return how many there are."""
        if self._place is None:
            with closing(sqlite3.connect(self._path)) as file:
                return _hashed(file.execute("SELECT state FROM stored_events"))
        with self._place.connect() as connection, connection.transaction():
            return _hashed(connection.execute(b"SELECT state FROM stored_events"))


def _hashed(rows: Iterable[tuple[bytes]]) -> int:
    return sum(1 for row in rows if hashlib.sha256(row[0]).digest())


def _ctx() -> Context:
    return Context(datetime.now(UTC), uuid4, "req", "bench", AGENT)


def _hand_out(grant: UserGrant, number: int) -> AccessEntry:
    now = datetime.now(UTC)
    return AccessEntry(
        at=now,
        outcome=Outcome.HANDED_OUT,
        caller=f"caller-{number % 40}",
        request_id=uuid4().hex,
        provider="bench",
        grant_id=grant.id,
        grant_version=grant.version,
        generation=1,
        token_ref=grant.state.access_tokens[-1].version,
        source=Source.CACHED,
        expires_at=now + LIFETIME,
        private=EntryPrivate(actor=AGENT),
    )


def _silent(done: int, of: int) -> None:
    _ = done, of


async def measured(bench: Bench, *, processes: bool) -> list[Rate]:
    """Return the rates of a filled ledger."""
    watch = Stopwatch()
    bench.read()
    reading = watch.rate("read", 0)
    watch = Stopwatch()
    await bench.ledger.complete_audit()
    catching = watch.rate("catch-up", 0)
    watch = Stopwatch()
    rows = (await bench.ledger.rebuild_audit(_silent)).rows
    rates = [reading, catching, watch.rate("rebuild", 0)]
    if processes:
        fill = filling(bench.config, 2, _silent)
        watch = Stopwatch()
        await bench.ledger.rebuild_audit(_silent, fill=fill)
        rates.append(watch.rate("rebuild x2", 0))
    return [rate._replace(rows=rows) for rate in rates]


async def _run(entries: int, per_leaf: int, conninfo: str | None) -> list[Rate]:
    with tempfile.TemporaryDirectory() as folder:
        bench = Bench(Path(folder), conninfo)
        try:
            await bench.fill(entries, per_leaf)
            return await measured(bench, processes=conninfo is not None)
        finally:
            await bench.ledger.close()


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure, and print a line for each."""
    said = argparse.ArgumentParser(description=__doc__)
    said.add_argument("--entries", type=int, default=20_000)
    said.add_argument("--per-leaf", type=int, default=20)
    said.add_argument("--postgres", default=None)
    given = said.parse_args(arguments)
    for rate in asyncio.run(_run(given.entries, given.per_leaf, given.postgres)):
        print(rate)


if __name__ == "__main__":
    main()
