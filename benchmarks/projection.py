"""How fast the audit trail and the index of tokens are made from the log.

    python -m benchmarks.projection [--entries 20000] [--per-leaf 20] [--rounds 3]
        [--postgres [DSN]]

In rows of the trail a second, one after the other in each round:

- leaves: a bare read of every leaf, each hashed once;
- read: a bare read of all that rows are made of, the leaves and their sealed parts,
  each hashed once;
- stock: the library's `ProjectionRunner` makes as many rows, with their digests, in
  tables with the same columns and indexes (`projection_stock`);
- catch-up: an empty trail is brought up to the log;
- rebuild: it is made again beside itself, every row compared, and swapped; on
  PostgreSQL once more by two processes, `rebuild x2`;
- tokens: the index of tokens is made again and compared.

The ledger is made by its own appends: a redeemed grant for each hundred entries, then
hand-outs with an actor, a chain and an address.

Fair, because every side stores its position with the rows, durable on the same disk.
The library's side is spared everything that is sealed: its events are in the clear. It
has a commit for each event, which is its way. "CPU us" is the processor time of a row,
server included: other programs on the machine change it least.
"""

from __future__ import annotations

import argparse
import asyncio
import hashlib
import os
import sqlite3
import statistics
import tempfile
import time
from collections.abc import Awaitable, Iterable, Sequence
from contextlib import ExitStack, closing
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, NamedTuple
from uuid import uuid4

from benchmarks.appends import check_durable, shipped_server
from benchmarks.cast import AGENT, RULES
from benchmarks.cpu import ServerTime, client_seconds
from benchmarks.projection_stock import Stock
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
from grantledger.domain.user_grant import Consent, UserGrant
from grantledger.domain.values import (
    AccessToken,
    GrantKey,
    Outcome,
    Purpose,
    RefreshToken,
    Source,
)

LIFETIME = timedelta(minutes=10)
IDS = RandomIds()
AT_ONCE = 2_000
STOCK_SHARE = 5
"""The library's side has a fifth of the rows: it is slow, and every row is alike."""
LEAVES = (
    "SELECT originator_id, originator_version, topic, leaf_hash, state"
    " FROM stored_events"
)
PARTS = "SELECT leaf_index, entry, field, grant_id, dek_id, ct FROM sealed"


class Rate(NamedTuple):
    """What one side gave in one round.

    Attributes:
        per_second: rows.
        busy_us: processor time of a row, of this process, its children and the server.
    """

    per_second: float
    busy_us: float


class Stopwatch:
    """Counts from when it was made.

    Args:
        server: the one that works as well, None for SQLite.
    """

    def __init__(self, server: ServerTime | None) -> None:
        self._server = server
        self._at = self._now()

    def rate(self, rows: int) -> Rate:
        """Return how fast so many rows were."""
        wall, busy = (a - b for a, b in zip(self._now(), self._at, strict=True))
        return Rate(rows / wall, 1e6 * busy / rows)

    def _now(self) -> tuple[float, float]:
        there = self._server.seconds() if self._server else 0.0
        return time.perf_counter(), client_seconds() + there


class Bench:
    """One ledger with a history, and where it stands."""

    def __init__(self, folder: Path, conninfo: str | None) -> None:
        self._ring = KeyRing.generate(os.urandom, datetime.now(UTC))
        self._ring.save(folder / "keyring.json")
        self._fingerprint = KeyedFingerprinter(self._ring).fingerprint
        self.config = folder / "grantledger.toml"
        self.server: ServerTime | None = None
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
            self.server = ServerTime(conninfo)
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

    async def fill(self, entries: int, per_leaf: int) -> int:
        """Store hand-outs, so many in one leaf; return how many rows there will be."""
        grants = [await self._redeemed(n) for n in range(max(1, entries // 100))]
        for start in range(0, entries, per_leaf):
            await asyncio.gather(
                *(
                    self.ledger.record(_hand_out(grants[n % len(grants)], n))
                    for n in range(start, min(start + per_leaf, entries))
                )
            )
        # A grant's consent, intent, rotation and exchange are rows as well.
        return entries + 4 * len(grants)

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

    def read(self, *queries: str) -> None:
        """Fetch every row of these and hash its last column once."""
        if self._place is None:
            with closing(sqlite3.connect(self._path)) as file:
                for query in queries:
                    _hash_all(file.execute(query))
            return
        with self._place.connect() as connection, connection.transaction():
            for query in queries:
                # As in SQLite, not all at once; in the form that is read fastest.
                with connection.cursor("bench", binary=True) as cursor:
                    cursor.itersize = AT_ONCE
                    _hash_all(cursor.execute(query.encode()))


def _hash_all(rows: Iterable[tuple[Any, ...]]) -> None:
    for row in rows:
        hashlib.sha256(row[-1]).digest()


def _ctx() -> Context:
    return Context(datetime.now(UTC), uuid4, "req", "bench", AGENT)


def _hand_out(grant: UserGrant, number: int) -> AccessEntry:
    now = datetime.now(UTC)
    return AccessEntry(
        at=now,
        outcome=Outcome.HANDED_OUT,
        caller=f"caller-{number % 40}",
        request_id=IDS.request_id(),
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


async def measured(bench: Bench, stock: Stock, rows: int) -> dict[str, Rate]:
    """Return the rates of a filled ledger and the library's application beside it."""
    rates: dict[str, Rate] = {}
    server = bench.server

    async def time_of(name: str, work: Awaitable[object]) -> None:
        watch = Stopwatch(server)
        await work
        rates[name] = watch.rate(rows)

    async def read(*queries: str) -> None:
        bench.read(*queries)

    await time_of("leaves", read(LEAVES))
    await time_of("read", read(LEAVES, PARTS))
    watch = Stopwatch(server)
    with stock.caught_up():
        rates["stock"] = watch.rate(stock.events)
    ledger = bench.ledger
    await time_of("catch-up", ledger.complete_audit())
    await time_of("rebuild", ledger.rebuild_audit(_silent))
    if server is not None:
        fill = filling(bench.config, 2, _silent)
        await time_of("rebuild x2", ledger.rebuild_audit(_silent, fill=fill))
    await time_of("tokens", ledger.rebuild_tokens(_silent))
    return rates


async def one_round(
    entries: int, per_leaf: int, conninfo: str | None
) -> dict[str, Rate]:
    """Return the rates of a new ledger."""
    with tempfile.TemporaryDirectory() as folder:
        bench = Bench(Path(folder), conninfo)
        try:
            rows = await bench.fill(entries, per_leaf)
            stock = Stock(Path(folder), conninfo, entries // STOCK_SHARE)
            return await measured(bench, stock, rows)
        finally:
            await bench.ledger.close()


def table(rounds: Sequence[dict[str, Rate]]) -> str:
    """Return the medians, and each side's ratio to two of them."""
    heads = ("rows/s", "CPU us", "of stock", "of read", "of leaves")
    lines = ["{:>11}{:>11}{:>9}{:>10}{:>9}{:>11}".format("", *heads)]
    for name in rounds[0]:
        rate, busy = (
            statistics.median(values)
            for values in zip(*(each[name] for each in rounds), strict=True)
        )
        stock, read, leaves = (
            statistics.median(
                each[name].per_second / each[beside].per_second for each in rounds
            )
            for beside in ("stock", "read", "leaves")
        )
        lines.append(
            f"{name:>11}{rate:11,.0f}{busy:9,.1f}{stock:9.1f}x{read:9.1%}{leaves:11.1%}"
        )
    return "\n".join(lines)


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure, and print a table."""
    said = argparse.ArgumentParser(description=__doc__)
    said.add_argument("--entries", type=int, default=20_000)
    said.add_argument("--per-leaf", type=int, default=20)
    said.add_argument("--rounds", type=int, default=3)
    said.add_argument("--postgres", nargs="?", const="", default=None)
    given = said.parse_args(arguments)
    with ExitStack() as stack:
        dsn: str | None = given.postgres
        if dsn == "":
            dsn = stack.enter_context(shipped_server())
        if dsn is not None:
            check_durable(dsn)
        rounds = [
            asyncio.run(one_round(given.entries, given.per_leaf, dsn))
            for _ in range(given.rounds)
        ]
    print(table(rounds))


if __name__ == "__main__":
    main()
