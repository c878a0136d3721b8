"""Data keys of grants and journal streams: wrapped in the ledger, open in memory.

A bounded cache; a key is unwrapped when it is first needed.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from typing import NamedTuple
from uuid import UUID

from eventsourcing.persistence import Cursor

from grantledger.adapters.keys.envelope import KEY_BYTES, DataKey
from grantledger.adapters.keys.ring import KeyRing, Random
from grantledger.domain.errors import IntegrityError

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
        self._open: OrderedDict[UUID, DataKey] = OrderedDict()
        self._lock = threading.Lock()

    def cached(self, grant_id: UUID) -> DataKey:
        """Return a key that `load` or `store` has opened.

        Raises:
            IntegrityError: there is none: the grant has no data key.
        """
        with self._lock:
            key = self._open.get(grant_id)
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
            key = self._open.get(grant_id)
            if key is not None:
                self._open.move_to_end(grant_id)
                return key
        c.execute(
            "SELECT dek_id, kek_id, wrapped FROM data_keys WHERE grant_id=?",
            (grant_id.hex,),
        )
        row = c.fetchone()
        if row is None:
            raise IntegrityError(f"grant {grant_id} has no data key")
        plain = self._ring.unwrap(row[1], row[0], grant_id, row[2])
        return self.keep(DataKey(row[0], grant_id, plain))

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
            self._open.pop(grant_id, None)

    def keep(self, key: DataKey) -> DataKey:
        """Keep a key open that is stored, or is about to be."""
        with self._lock:
            self._open[key.grant_id] = key
            while len(self._open) > self._max_open:
                self._open.popitem(last=False)
        return key
