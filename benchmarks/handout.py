"""Hand-outs per second through the in-process broker, beside raw commits.

    python -m benchmarks.handout [--seconds 1.0] [--rounds 5] [--json FILE]

Compares, interleaved in one run on one machine and one file system:

- raw: sqlite3, one row a commit, WAL, synchronous=FULL, one connection, a row of the
  size that one hand-out adds to the log on average (200 bytes);
- broker: `Broker.hand_out` of a cached token, with policy, state check and the
  durable journal, at 1, 16, 64 and 256 concurrent callers, each caller with a grant
  of its own up to 64 grants;
- journal off: the same call with a ledger whose `record` answers at once, which is
  the broker's own work.

Fair, because both sides are durable before they answer (one fsync a commit on the
same disk) and both use one process; the broker's advantage is group commit alone,
its handicap everything that a hand-out is beside a row. No figure is a pass mark on
its own: read the ratios.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import sqlite3
import statistics
import sys
import tempfile
import time
from datetime import UTC, datetime
from pathlib import Path

from grantledger.adapters.keys.clock import RandomIds, SystemClock
from grantledger.adapters.keys.fingerprints import KeyedFingerprinter
from grantledger.adapters.keys.ring import KeyRing
from grantledger.adapters.ledger import datastore
from grantledger.adapters.ledger.rates import Rates
from grantledger.adapters.ledger.runner import TaskRunner
from grantledger.adapters.ledger.spool import FileSpool
from grantledger.adapters.ledger.sqlite_ledger import SqliteLedger
from grantledger.domain.answers import (
    RevocationConfirmed,
    TokenAnswer,
    UpstreamFailure,
)
from grantledger.domain.broker import Broker
from grantledger.domain.journal import AccessEntry
from grantledger.domain.policy import CallerRule, Policy
from grantledger.domain.ports import Recorded, RecordVerdict
from grantledger.domain.provider import ProviderRules
from grantledger.domain.requests import Caller, TokenRequest
from grantledger.domain.surroundings import Provider, Surroundings
from grantledger.domain.user_grant import Consent
from grantledger.domain.values import AccessToken, GrantKey, RefreshToken, TokenKind

CALLERS = (1, 16, 64, 256)
GRANTS = 64
ROW_BYTES = 200
SCOPES = ("files.read", "openid")


class InstantServer:
    """An authorization server that answers at once; each grant asks it once."""

    def __init__(self) -> None:
        self._issued = 0

    async def redeem(self, refresh_token: RefreshToken, **_: object) -> TokenAnswer:
        """Answer with a token that lives a day."""
        self._issued += 1
        return TokenAnswer(
            sent_at=datetime.now(UTC),
            refresh_token=refresh_token,
            access_token=AccessToken(f"access-{self._issued}"),
            expires_in=86_400,
            scopes=SCOPES,
        )

    async def exchange(
        self, subject_token: AccessToken, **_: object
    ) -> TokenAnswer | UpstreamFailure:
        """Not used here."""
        raise NotImplementedError

    async def revoke(
        self, token: str, kind: TokenKind, **_: object
    ) -> RevocationConfirmed:
        """Not used here."""
        raise NotImplementedError


RECORDED = RecordVerdict.RECORDED


class NoJournal:
    """The ledger with the journal taken out: `record` answers at once."""

    def __init__(self, ledger: SqliteLedger, clock: SystemClock) -> None:
        self._ledger = ledger
        self._clock = clock

    def __getattr__(self, name: str) -> object:
        """Leave everything else to the ledger."""
        return getattr(self._ledger, name)

    async def record(self, entry: AccessEntry) -> Recorded:
        """Answer at once."""
        del entry
        return Recorded(RECORDED, self._clock.monotonic())


def raw_commits(directory: Path, seconds: float) -> float:
    """Return one-row commits per second of plain sqlite3."""
    path = directory / f"raw-{time.monotonic_ns()}.db"
    connection = sqlite3.connect(path, isolation_level=None)
    connection.execute("PRAGMA journal_mode=WAL")
    connection.execute("PRAGMA synchronous=FULL")
    connection.execute("CREATE TABLE rows (id INTEGER PRIMARY KEY, body BLOB)")
    body = os.urandom(ROW_BYTES)
    done = 0
    start = time.perf_counter()
    while (spent := time.perf_counter() - start) < seconds:
        connection.execute("BEGIN IMMEDIATE")
        connection.execute("INSERT INTO rows (body) VALUES (?)", (body,))
        connection.execute("COMMIT")
        done += 1
    connection.close()
    path.unlink()
    return done / spent


async def hand_outs(broker: Broker, callers: int, seconds: float) -> float:
    """Return hand-outs per second of that many concurrent callers."""
    done = 0
    stop = time.perf_counter() + seconds

    async def one(number: int) -> None:
        nonlocal done
        caller = Caller(f"caller-{number}")
        request = TokenRequest(
            GrantKey("bench", f"user-{number % GRANTS}"), scopes=("files.read",)
        )
        while time.perf_counter() < stop:
            await broker.hand_out(caller, request)
            done += 1

    start = time.perf_counter()
    await asyncio.gather(*(one(number) for number in range(callers)))
    return done / (time.perf_counter() - start)


async def run(directory: Path, seconds: float, rounds: int) -> dict[str, list[float]]:
    """Return every round's figures by name."""
    clock, ids = SystemClock(), RandomIds()
    ring = KeyRing.generate(os.urandom, datetime.now(UTC))
    path = directory / "ledger.db"
    datastore.create(path)
    ledger = SqliteLedger.open(
        path,
        ring,
        clock,
        ids,
        node="bench",
        random=os.urandom,
        rates=Rates(hand_outs_per_second=1e9),
    )
    rules = ProviderRules(
        "bench", "https://as.invalid", "client", cache_ttl_seconds=1e6
    )
    env = Surroundings(
        ledger=ledger,
        duties=ledger.duties,
        clock=clock,
        ids=ids,
        fingerprints=KeyedFingerprinter(ring),
        runner=TaskRunner(),
        spool=FileSpool(directory / "spool", ring),
        providers={"bench": Provider(rules, InstantServer())},
        node="bench",
        policy=Policy(
            (
                CallerRule("nobody"),
                CallerRule("*", scopes=frozenset({"files.read", "openid"})),
            ),
            "bench-1",
        ),
    )
    broker = Broker(env)
    for number in range(GRANTS):
        await broker.provision(
            Caller("bench"),
            Consent(
                key=GrantKey("bench", f"user-{number}"),
                client_id="client",
                flow="import",
                scopes=SCOPES,
                refresh_token=RefreshToken(f"refresh-{number}"),
            ),
        )
    await hand_outs(broker, GRANTS, 0.2)
    figures: dict[str, list[float]] = {}
    journal_off: object = NoJournal(ledger, clock)
    for _ in range(rounds):
        figures.setdefault("raw commits", []).append(raw_commits(directory, seconds))
        for callers in CALLERS:
            rate = await hand_outs(broker, callers, seconds)
            figures.setdefault(f"broker, {callers} callers", []).append(rate)
        env.ledger = journal_off  # type: ignore[assignment] # the port, less its journal
        rate = await hand_outs(broker, 64, seconds)
        env.ledger = ledger
        figures.setdefault("journal off, 64 callers", []).append(rate)
    await ledger.close()
    size = path.stat().st_size
    print(f"ledger: {size / 1e6:.0f} MB", file=sys.stderr)
    return figures


def main() -> None:
    """Run, print a table, and write the figures where asked."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seconds", type=float, default=1.0)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as directory:
        figures = asyncio.run(run(Path(directory), arguments.seconds, arguments.rounds))
    raw = statistics.median(figures["raw commits"])
    print(f"{'':28}{'per second':>12}{'of raw':>9}{'lowest':>12}{'highest':>12}")
    for name, values in figures.items():
        middle = statistics.median(values)
        print(
            f"{name:28}{middle:12,.0f}{middle / raw:8.1f}x"
            f"{min(values):12,.0f}{max(values):12,.0f}"
        )
    if arguments.json:
        arguments.json.write_text(json.dumps(figures, indent=2))


if __name__ == "__main__":
    main()
