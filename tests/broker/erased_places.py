"""Where anything of a grant may be stored, and all that can be read of it there.

A table or a file that is not listed here fails the test: somebody has to say first why
nothing of an erased grant is in it.
"""

from __future__ import annotations

import hashlib
from base64 import b64encode, urlsafe_b64encode
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from uuid import UUID

from eventsourcing.persistence import StoredEvent

from grantledger.adapters.keys.envelope import DataKey, SealedPart
from grantledger.adapters.keys.ring import KeyRing
from grantledger.adapters.ledger.leaves import read_leaf
from grantledger.adapters.ledger.spool import SUFFIX
from tests.contract.stores import PostgresStore, Store

NOT_FILLED = frozenset(
    {"cosignatures", "log_nodes", "provider_clients", "token_index_missing"}
)
"""Tables that hold nothing of any grant."""

TABLES = {
    "audit_position": "numbers",
    "audit_rows": "what leaves say in the clear",
    "audit_terms": "keyed digests; those of the grant go",
    "checkpoints": "sizes, roots, signatures",
    "claims": "an id, a worker's id and a time",
    "cosignatures": "likewise",
    "current_grants": "a row that says `erased`, under a random digest",
    "data_keys": "the grant's goes",
    "grant_states": "the grant's go",
    "journal_index": "ids",
    "key_checks": "of the ring",
    "log_head": "the tree's edge",
    "log_nodes": "hashes",
    "meta": "of the ledger",
    "once": "digests of random names",
    "outbox": "an id and times",
    "outbox_heads": "numbers",
    "provider_clients": "of a provider",
    "sealed": "the grant's go",
    "stored_events": "leaves: surrogates, enumerated words, commitments",
    "token_index": "the grant's go",
    "token_index_missing": "numbers",
    "upkeep": "an id and times",
}

FILES = {
    "grantledger.db": "the store",
    "grantledger.db-wal": "its write-ahead log",
    "grantledger.db-shm": "its locks",
    "grantledger.db.guard": "the log's size and a hash",
    "grantledger.guard": "likewise, beside PostgreSQL",
    "grantledger.db.erasures": "ids, receipts and times",
    "grantledger.erasures": "likewise",
    "keyring.json": "the keys, of no grant",
    "cloud.secret": "the client's",
    "grantledger.toml": "settings",
}
FOLDERS = {"grantledger.db.spool", "grantledger.spool"}


def tables_of(store: Store) -> set[str]:
    """Return the names of all tables that there are."""
    if isinstance(store, PostgresStore):
        query = "SELECT tablename FROM pg_tables WHERE schemaname = ?"
        return {row[0] for row in store.sql(query, store.name)}
    query = "SELECT name FROM sqlite_master WHERE type = 'table'"
    return {row[0] for row in store.sql(query)}


def rows_of(store: Store, table: str) -> bytes:
    """Return every column of every row, as bytes one after the other."""
    found: list[bytes] = []
    for row in store.sql(f"SELECT * FROM {table}"):  # noqa: S608 - a name of the schema
        for value in row:
            is_bytes = isinstance(value, bytes)
            found.append(value if is_bytes else str(value).encode())
    return b"\0".join(found)


def forms(text: str) -> list[bytes]:
    """Return how a text may be written, and what it is guessed by without a key."""
    raw = text.encode()
    digests = [hashlib.new(name, raw) for name in ("sha256", "sha1", "md5")]
    binary = [raw, *(one.digest() for one in digests)]
    return [
        *binary,
        *(one.hex().encode() for one in binary),
        # Whole groups of three bytes are written the same wherever they begin a value.
        *(b64encode(one[: len(one) // 3 * 3]) for one in binary),
        *(urlsafe_b64encode(one[: len(one) // 3 * 3]) for one in binary),
    ]


@dataclass(frozen=True)
class Opened:
    """Something sealed that a key still opens."""

    where: str
    plain: bytes


def opened(store: Store, ring: KeyRing) -> Iterator[Opened]:
    """Yield all that any stored key opens; an error is the test's."""
    keys: dict[UUID, DataKey] = {}
    for dek_id, owner, kek_id, wrapped in store.sql("SELECT * FROM data_keys"):
        name = UUID(hex=owner)
        plain = ring.unwrap(kek_id, dek_id, name, bytes(wrapped))
        keys[name] = DataKey(dek_id, name, plain)
    parts = {
        (at, None if entry < 0 else entry, field): (owner, dek_id, bytes(ct))
        for at, entry, field, owner, dek_id, ct in store.sql("SELECT * FROM sealed")
    }
    numbered = f"SELECT {store.number} - 1, originator_id, originator_version, topic,"
    for index, stream, version, topic, state in store.sql(
        f"{numbered} state FROM stored_events"
    ):
        named = UUID(str(stream))
        leaf = read_leaf(StoredEvent(named, version, topic, bytes(state)))
        for ref in leaf.sealed:
            part = parts.pop((index, ref.entry, ref.field), None)
            if part is not None:
                sealed = SealedPart(
                    ref.entry,
                    UUID(hex=part[0]),
                    ref.field,
                    part[1],
                    part[2],
                    ref.ct_sha256,
                    ref.commit,
                )
                key = keys[ref.grant_id]
                plain = key.open(sealed, leaf.event_id, ref.entry, ref.field)
                yield Opened(f"{topic} {ref.field}", plain)
    assert not parts, "a sealed part of no leaf"
    for table in ("current_grants", "grant_states"):
        for owner, version, status, state in store.sql(
            f"SELECT grant_id, version, status, state FROM {table}"  # noqa: S608 - constants only
        ):
            if status != "erased":
                key = keys[UUID(hex=owner)]
                yield Opened(table, key.state_open(version, bytes(state)))


def answers(folder: Path, ring: KeyRing) -> Iterator[Opened]:
    """Yield the answers on disk below a folder, opened."""
    for path in sorted(folder.rglob(f"*{SUFFIX}")):
        aad = UUID(hex=path.stem).bytes
        yield Opened(str(path), ring.open_spool(path.read_bytes(), aad))
