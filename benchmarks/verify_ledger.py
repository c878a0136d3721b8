"""A ledger file of many leaves for `benchmarks.verify`: one grant's life, copied.

    python -m benchmarks.verify_ledger PATH LEAVES

Prints the size and the root of its first half. In a process of its own: the verifier's
second process imports again whatever the first has.
"""

from __future__ import annotations

import asyncio
import os
import sqlite3
import sys
from collections.abc import Mapping
from contextlib import closing
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from pathlib import Path
from typing import Any
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


if __name__ == "__main__":
    made = Path(sys.argv[1])
    asyncio.run(template(made))
    size, root = multiply(made, int(sys.argv[2]))
    print(size, root.hex())
