r"""Leaves per second that `grantledger-verify` checks, beside a loop that hashes them.

    python -m benchmarks.verify [--leaves 1000000] [--rounds 3] [--json FILE]

A real ledger is written first: one grant's life through `SqliteLedger`, 40 refreshes of
three events each (intended, rotated, exchanged) and, for each, a journal leaf of
hand-outs. Its rows are then copied under new ids until there are enough leaves: every
copy is a ledger's own row, with its ciphertexts, its hash and its place in the tree.

Compared in one run, over the same file, interleaved:

- loop: every leaf's bytes are in memory, and `sha256(b"\0" + leaf).digest()` is taken
  once of each, one after the other, in one process;
- reading loop: the same, over `SELECT state FROM stored_events`;
- log: `grantledger-verify ledger --log-only --older`: hashes, columns, tree, head,
  streams, current grants, the older checkpoint's root; two processes;
- whole: the same with a digest for each sealed part;
- whole in one process.

The loops' rate is what the others are measured against, once by the clock and once by
the processor time of the busier process, which other programs on the machine change
least. The handicap of the verifier:
it hashes a tree node for each leaf as well, reads all columns, and, in `whole`, hashes
each ciphertext. Its advantage is a second process.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import resource
import sqlite3
import statistics
import tempfile
import time
from collections.abc import Callable, Mapping
from contextlib import closing
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from pathlib import Path
from typing import Any, NamedTuple
from uuid import UUID, uuid4

from grantledger.adapters.keys.clock import RandomIds, SystemClock
from grantledger.adapters.keys.ring import KeyRing
from grantledger.adapters.ledger import datastore
from grantledger.adapters.ledger.sqlite_ledger import SqliteLedger
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
    TokenFingerprint,
    TokenKind,
)
from grantledger.projections.transparency import CompactRange, leaf_hash
from grantledger.projections.verify.findings import Findings
from grantledger.projections.verify.ledger import check_ledger
from grantledger.projections.verify.notes import Note

REFRESHES = 40
ENTRIES = 4
RULES = ProviderRules(name="cloud", issuer="https://as.example", client_id="broker")
ACTOR = Actor("scanner", ActorKind.SERVICE, peer_ip="192.0.2.7")


def mark(kind: TokenKind, token: str) -> TokenFingerprint:
    """Return a fingerprint as long as a real one."""
    return TokenFingerprint(
        f"hmac-sha256:k-1:{sha256(f'{kind}{token}'.encode()).hexdigest()}"
    )


def context() -> Context:
    """Return who does it, now."""
    return Context(datetime.now(UTC), uuid4, "req-1", "node-1", ACTOR, "p1")


async def template(path: Path) -> None:
    """Write one grant's life."""
    datastore.create(path)
    ring = KeyRing.generate(os.urandom, datetime.now(UTC))
    ledger = SqliteLedger.open(
        path, ring, SystemClock(), RandomIds(), node="node-1", random=os.urandom
    )
    consent = Consent(
        key=GrantKey("cloud", "alice"),
        client_id="broker",
        flow="authorization_code",
        scopes=("files.read", "openid"),
        refresh_token=RefreshToken("r" * 64),
        audience="cloud",
    )
    grant = UserGrant.provision(context(), RULES, uuid4(), consent, mark)
    await ledger.append(grant)
    for number in range(REFRESHES):
        draft = grant.fork()
        intent = draft.intend(
            context(),
            RULES,
            purpose=Purpose.EXCHANGE,
            scopes=("files.read",),
            audience="cloud",
            resource=None,
        )
        await ledger.append(draft)
        grant = draft.fork()
        answer = TokenAnswer(
            datetime.now(UTC),
            refresh_token=RefreshToken(f"{number:064}"),
            access_token=AccessToken(f"{number:0800}"),
            expires_in=900,
        )
        grant.answered(context(), RULES, intent.attempt_id, answer, mark)
        await ledger.append(grant)
        grant = grant.fork()
        await asyncio.gather(*(ledger.record(handed(grant)) for _ in range(ENTRIES)))
    await ledger.close()


def handed(grant: UserGrant) -> AccessEntry:
    """Return the entry of a hand-out."""
    return AccessEntry(
        at=datetime.now(UTC),
        outcome=Outcome.HANDED_OUT,
        caller="scanner",
        request_id=uuid4().hex,
        provider="cloud",
        grant_id=grant.id,
        grant_version=grant.version,
        generation=1,
        token_ref=grant.version,
        source=Source.CACHED,
        expires_at=datetime.now(UTC) + timedelta(minutes=5),
        private=EntryPrivate(actor=ACTOR),
    )


def multiply(path: Path, leaves: int) -> tuple[int, bytes]:
    """Copy the template's rows under new ids; return size and root of half of it."""
    tree, half = CompactRange(), (0, b"")
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.execute("PRAGMA synchronous=OFF")
        connection.execute("BEGIN")
        kept = {
            table: connection.execute(f"SELECT * FROM {table}").fetchall()  # noqa: S608 - constants only
            for table in ("stored_events", "sealed", "data_keys", "current_grants")
        }
        for table in (*kept, "token_index", "journal_index"):
            connection.execute(f"DELETE FROM {table}")  # noqa: S608 - constants only
        events = kept.pop("stored_events")
        streams = sorted({row[1] for row in events})
        for copy in range(-(-leaves // len(events))):
            ids = {stream: uuid4() for stream in streams}
            deks = {row[0]: f"d-{os.urandom(8).hex()}" for row in kept["data_keys"]}
            start = copy * len(events)
            for rowid, stream, version, topic, leaf, _ in events:
                state = leaf
                for old, new in ids.items():
                    state = state.replace(str(UUID(old)).encode(), str(new).encode())
                for known, dek in deks.items():
                    state = state.replace(known.encode(), dek.encode())
                hashed = leaf_hash(state)
                tree.append(hashed)
                row = (start + rowid, ids[stream].hex, version, topic, state, hashed)
                connection.execute(
                    "INSERT INTO stored_events VALUES (?,?,?,?,?,?)", row
                )
            named = {old: new.hex for old, new in ids.items()} | deks
            _beside(connection, start, named, kept)
            if not half[0] and tree.size >= leaves // 2:
                half = tree.size, tree.root()
        connection.execute(
            "UPDATE log_head SET next_index=?, frontier=?", (tree.size, tree.to_bytes())
        )
        connection.execute("COMMIT")
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    return half


def _beside(
    connection: sqlite3.Connection,
    start: int,
    ids: Mapping[str, str],
    kept: Mapping[str, list[tuple[Any, ...]]],
) -> None:
    """Copy what stands beside the leaves."""
    connection.executemany(
        "INSERT INTO sealed VALUES (?,?,?,?,?,?)",
        [
            (start + index, entry, field, ids[grant], ids[dek], ct)
            for index, entry, field, grant, dek, ct in kept["sealed"]
        ],
    )
    for dek, grant, *rest in kept["data_keys"]:
        if grant in ids:
            row = (ids[dek], ids[grant], *rest)
            connection.execute("INSERT INTO data_keys VALUES (?,?,?,?)", row)
    for grant, version, index, provider, _, *rest in kept["current_grants"]:
        row = (ids[grant], version, start + index, provider, os.urandom(32), *rest)
        marks = ",".join("?" * len(row))
        connection.execute(f"INSERT INTO current_grants VALUES ({marks})", row)  # noqa: S608 - question marks only


class Taken(NamedTuple):
    """What one run took of each leaf, in microseconds.

    Attributes:
        wall: by the clock.
        busiest: processor time of whichever process used most: what the clock would
            show on a machine with a free core for each.
    """

    wall: float
    busiest: float


def timed(work: Callable[[], int]) -> Taken:
    """Return what the work takes a leaf."""
    clock, own = time.perf_counter(), time.process_time()
    children = resource.getrusage(resource.RUSAGE_CHILDREN)
    leaves = work()
    own = time.process_time() - own
    ended = resource.getrusage(resource.RUSAGE_CHILDREN)
    other = ended.ru_utime + ended.ru_stime - children.ru_utime - children.ru_stime
    wall = time.perf_counter() - clock
    return Taken(wall / leaves * 1e6, max(own, other) / leaves * 1e6)


def loop(leaves: list[bytes]) -> int:
    """Hash each leaf once, and nothing else."""
    for leaf in leaves:
        sha256(b"\0" + leaf).digest()
    return len(leaves)


def reading_loop(path: Path) -> int:
    """Read each leaf from the file, and hash it once."""
    count = 0
    with closing(sqlite3.connect(path)) as connection:
        for (leaf,) in connection.execute("SELECT state FROM stored_events"):
            sha256(b"\0" + leaf).digest()
            count += 1
    return count


def verified(path: Path, older: Note, *, sealed: bool, shared: bool) -> int:
    """Verify the ledger; it has to hold."""
    findings = Findings()
    report = check_ledger(
        path, [older], findings, sealed=sealed, shared_from=1 if shared else None
    )
    assert not findings.items, findings.items[:3]
    assert report.shared is shared
    return report.leaves


def sides(path: Path, half: tuple[int, bytes]) -> dict[str, Callable[[], int]]:
    """Return what is compared, by name."""
    older = Note("bench", *half, b"", ())
    with closing(sqlite3.connect(path)) as connection:
        leaves = [
            row[0] for row in connection.execute("SELECT state FROM stored_events")
        ]
    return {
        "loop": lambda: loop(leaves),
        "reading loop": lambda: reading_loop(path),
        "log": lambda: verified(path, older, sealed=False, shared=True),
        "log, one process": lambda: verified(path, older, sealed=False, shared=False),
        "whole": lambda: verified(path, older, sealed=True, shared=True),
        "whole, one process": lambda: verified(path, older, sealed=True, shared=False),
    }


def main() -> None:
    """Run the comparison, and print a table."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--leaves", type=int, default=1_000_000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--json", type=Path)
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="gl-bench-") as folder:
        path = Path(folder) / "ledger.db"
        asyncio.run(template(path))
        half = multiply(path, asked.leaves)
        with closing(sqlite3.connect(path)) as connection:
            (leaves, length), (parts,) = (
                connection.execute(query).fetchone()
                for query in (
                    "SELECT count(*), avg(length(state)) FROM stored_events",
                    "SELECT count(*) FROM sealed",
                )
            )
        print(
            f"{leaves} leaves of {length:.0f} bytes, {parts / leaves:.1f} sealed parts "
            f"each, {path.stat().st_size / 1e6:.0f} MB"
        )
        runs: dict[str, list[Taken]] = {}
        compared = sides(path, half)
        for _ in range(asked.rounds):
            for name, work in compared.items():
                runs.setdefault(name, []).append(timed(work))
    columns = ("us/leaf", "of loop", "of reading", "core us", "of loop", "of reading")
    print(f"{'side':18} " + " ".join(f"{column:>10}" for column in columns))
    walls, cores = (
        {
            name: statistics.median(each[kind] for each in all_)
            for name, all_ in runs.items()
        }
        for kind in (0, 1)
    )
    for name in runs:
        told = [
            f"{taken[name]:10.2f} {taken['loop'] / taken[name]:10.0%} "
            f"{taken['reading loop'] / taken[name]:10.0%}"
            for taken in (walls, cores)
        ]
        print(f"{name:18} {' '.join(told)}")
    if asked.json:
        asked.json.write_text(json.dumps({"leaves": leaves, "runs": runs}, indent=1))


if __name__ == "__main__":
    main()
