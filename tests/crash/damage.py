"""A ledger of healthy lives, damaged behind its back and put right again."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Generator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import replace
from datetime import UTC, datetime
from uuid import UUID

from grantledger.adapters.bootstrap.ledgers import spool_of
from grantledger.adapters.ledger.spool import FileSpool
from grantledger.adapters.settings import load
from grantledger.domain.answers import TokenAnswer
from grantledger.domain.errors import IntegrityError
from grantledger.projections.transparency import leaf_hash
from tests.crash.doctored import NOBODY
from tests.crash.ground import Ground

Damage = Callable[[Ground], AbstractContextManager[None]]


@contextmanager
def cell(
    ground: Ground,
    table: str,
    column: str,
    where: str,
    change: Callable[[bytes], bytes],
) -> Generator[None]:
    """Change a value in the store, and put it back."""
    store = ground.store
    ((was,),) = store.sql(f"SELECT {column} FROM {table} WHERE {where}")  # noqa: S608 - the test's own text
    update = f"UPDATE {table} SET {column} = ? WHERE {where}"  # noqa: S608 - likewise
    store.sql(update, change(was))
    try:
        yield
    finally:
        store.sql(update, was)


def flipped(value: bytes) -> bytes:
    """Return the bytes with one bit changed."""
    middle = len(value) // 2
    return value[:middle] + bytes([value[middle] ^ 1]) + value[middle + 1 :]


@contextmanager
def leaf(ground: Ground) -> Generator[None]:
    with cell(ground, "stored_events", "state", f"{ground.store.number} = 3", flipped):
        yield


@contextmanager
def leaf_with_its_hash(ground: Ground) -> Generator[None]:
    where = f"{ground.store.number} = 3"
    ((state,),) = ground.store.sql(f"SELECT state FROM stored_events WHERE {where}")  # noqa: S608 - the test's own text
    hashed = leaf_hash(flipped(state))
    with (
        cell(ground, "stored_events", "state", where, flipped),
        cell(ground, "stored_events", "leaf_hash", where, lambda _: hashed),
    ):
        yield


@contextmanager
def gap(ground: Ground) -> Generator[None]:
    """Take a leaf out of the middle: its number moves behind the log."""
    number = ground.store.number
    move = f"UPDATE stored_events SET {number} = ? WHERE {number} = ?"  # noqa: S608 - the test's own text
    ground.store.sql(move, 1 << 30, 3)
    try:
        yield
    finally:
        ground.store.sql(move, 3, 1 << 30)


@contextmanager
def sealed_part(ground: Ground) -> Generator[None]:
    ((index, entry, field),) = ground.store.sql(
        "SELECT leaf_index, entry, field FROM sealed"
        " ORDER BY leaf_index, entry, field LIMIT 1"
    )
    where = f"leaf_index = {index} AND entry = {entry} AND field = '{field}'"
    with cell(ground, "sealed", "ct", where, flipped):
        yield


@contextmanager
def row(ground: Ground) -> Generator[None]:
    """A row of the same version, rightly sealed, with another state."""
    with ground.store.parts() as parts:
        ((grant_id, index, state, code),) = ground.store.sql(
            "SELECT grant_id, leaf_index, state, code FROM current_grants"
            " ORDER BY leaf_index LIMIT 1"
        )
        grant = parts.stored(UUID(hex=grant_id))
        grant.state = replace(grant.state, failures=grant.state.failures + 1)
        with parts.reading() as c:
            key = parts.keys.load(c, grant.id)
        columns = parts.rows.sealed(grant, index, key)
    put = "UPDATE current_grants SET state = ?, code = ? WHERE grant_id = ?"
    ground.store.sql(put, columns[-2], columns[-1], grant_id)
    try:
        yield
    finally:
        ground.store.sql(put, state, code, grant_id)


@contextmanager
def spooled(ground: Ground) -> Generator[None]:
    spool = FileSpool(spool_of(load(ground.config(), {})), ground.store.ring)
    asyncio.run(spool.put(NOBODY, NOBODY, TokenAnswer(datetime.now(UTC))))
    try:
        yield
    finally:
        asyncio.run(spool.remove(NOBODY))


DAMAGE: dict[str, tuple[Damage, type[Exception], str]] = {
    "a bit of a leaf": (leaf, AssertionError, "a leaf differs from its hash"),
    "a leaf with its hash": (
        leaf_with_its_hash,
        AssertionError,
        "the head differs from the leaves",
    ),
    "a gap": (gap, AssertionError, "a leaf is missing"),
    "a bit of a sealed part": (
        sealed_part,
        IntegrityError,
        "differs from its sealed parts",
    ),
    "a row": (row, IntegrityError, "its row differs from its"),
    "a spooled answer": (spooled, AssertionError, "brought home"),
}
"""By what was damaged: how, and by which error with which words it is found."""
