"""Data keys of grants and journal streams: wrapped in the ledger, open in memory.

A bounded cache; a key is unwrapped when it is first needed.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Iterable
from contextlib import suppress
from typing import NamedTuple
from uuid import UUID

from eventsourcing.persistence import Cursor

from grantledger.adapters.keys.envelope import KEY_BYTES, DataKey
from grantledger.adapters.keys.ring import KeyRing, Random
from grantledger.adapters.ledger.listing import marks, portions
from grantledger.domain.errors import IntegrityError, WrongKey

MAX_OPEN_KEYS = 3_000
"""About 4 kB each."""

DEK_ID_BYTES = 8


class WrappedKey(NamedTuple):
    """A data key as it is stored: under which key, and the bytes."""

    kek_id: str
    wrapped: bytes


class DataKeys:
    """Opens and makes data keys; safe in threads."""

    def __init__(
        self, ring: KeyRing, random: Random, max_open: int = MAX_OPEN_KEYS
    ) -> None:
        self._ring = ring
        self._max_open = max_open
        self._random = random
        # By number, as everywhere that many are looked up: the class `UUID` hashes and
        # compares in Python.
        self._open: OrderedDict[int, DataKey] = OrderedDict()
        self._lock = threading.Lock()

    def cached(self, grant_id: UUID) -> DataKey:
        """Return a key that `load` or `store` has opened.

        Raises:
            IntegrityError: there is none: the grant has no data key.
        """
        with self._lock:
            key = self._open.get(grant_id.int)
        if key is None:
            raise IntegrityError(f"grant {grant_id} has no data key")
        return key

    def load(self, c: Cursor, grant_id: UUID) -> DataKey:
        """Return the grant's key, unwrapped if it is not in memory.

        Raises:
            IntegrityError: the ledger holds none.
            WrongKey: the ring does not open it.
        """
        with self._lock:
            key = self._open.get(grant_id.int)
            if key is not None:
                self._open.move_to_end(grant_id.int)
                return key
        c.execute(
            "SELECT dek_id, kek_id, wrapped FROM data_keys WHERE grant_id=?",
            (grant_id.hex,),
        )
        row = c.fetchone()
        if row is None:
            raise IntegrityError(f"grant {grant_id} has no data key")
        return self._opened(grant_id, *row)

    def load_all(self, c: Cursor, grants: Iterable[UUID]) -> None:
        """Open the keys of many grants, as far as the ledger holds and opens them.

        What lacks is said by `load`, of the grant that it is about.
        """
        with self._lock:
            unknown = [g for g in grants if g.int not in self._open]
        for some in portions(unknown):
            c.execute(
                "SELECT grant_id, dek_id, kek_id, wrapped FROM data_keys"  # noqa: S608 - question marks only
                f" WHERE grant_id IN ({marks('?', some)})",
                tuple(grant_id.hex for grant_id in some),
            )
            for hexed, *row in c.fetchall():
                with suppress(WrongKey, IntegrityError):
                    self._opened(UUID(hex=hexed), *row)

    def _opened(
        self, grant_id: UUID, dek_id: str, kek_id: str, wrapped: bytes
    ) -> DataKey:
        plain = self._ring.unwrap(kek_id, dek_id, grant_id, wrapped)
        return self.keep(DataKey(dek_id, grant_id, plain))

    def make(self, grant_id: UUID) -> tuple[DataKey, WrappedKey]:
        """Return a fresh key for a grant that has none, and what `store` stores."""
        dek_id = f"d-{self._random(DEK_ID_BYTES).hex()}"
        plain = self._random(KEY_BYTES)
        wrapped = WrappedKey(*self._ring.wrap(dek_id, grant_id, plain))
        return DataKey(dek_id, grant_id, plain), wrapped

    def store(self, c: Cursor, key: DataKey, wrapped: WrappedKey) -> None:
        """Store a fresh key, and keep it open: `forget` it if the commit fails."""
        c.execute(
            "INSERT INTO data_keys VALUES (?,?,?,?)",
            (key.dek_id, key.grant_id.hex, wrapped.kek_id, wrapped.wrapped),
        )
        self.keep(key)

    def forget(self, grant_id: UUID) -> None:
        """Drop a key from memory, such as one whose transaction failed."""
        with self._lock:
            self._open.pop(grant_id.int, None)

    def keep(self, key: DataKey) -> DataKey:
        """Keep a key open that is stored, or is about to be."""
        with self._lock:
            self._open[key.grant_id.int] = key
            while len(self._open) > self._max_open:
                self._open.popitem(last=False)
        return key
