"""Data keys of grants and journal streams: wrapped in the ledger, open in memory.

A bounded cache; a key is unwrapped when it is first needed.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from uuid import UUID

from eventsourcing.sqlite import SQLiteCursor

from grantledger.adapters.keys.envelope import KEY_BYTES, DataKey
from grantledger.adapters.keys.ring import KeyRing, Random
from grantledger.domain.errors import IntegrityError

MAX_OPEN_KEYS = 20_000
DEK_ID_BYTES = 8


class DataKeys:
    """Opens and makes data keys; safe in threads."""

    def __init__(self, ring: KeyRing, random: Random) -> None:
        self._ring = ring
        self._random = random
        self._open: OrderedDict[UUID, DataKey] = OrderedDict()
        self._lock = threading.Lock()

    def cached(self, grant_id: UUID) -> DataKey:
        """Return a key that `load` or `make` has opened.

        Raises:
            IntegrityError: there is none: the grant has no data key.
        """
        with self._lock:
            key = self._open.get(grant_id)
        if key is None:
            raise IntegrityError(f"grant {grant_id} has no data key")
        return key

    def load(self, c: SQLiteCursor, grant_id: UUID) -> DataKey:
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
        return self._keep(DataKey(row[0], grant_id, plain))

    def make(self, c: SQLiteCursor, grant_id: UUID) -> DataKey:
        """Return a fresh key for a grant that has none; stored wrapped."""
        dek_id = f"d-{self._random(DEK_ID_BYTES).hex()}"
        plain = self._random(KEY_BYTES)
        kek_id, wrapped = self._ring.wrap(dek_id, grant_id, plain)
        c.execute(
            "INSERT INTO data_keys VALUES (?,?,?,?)",
            (dek_id, grant_id.hex, kek_id, wrapped),
        )
        return self._keep(DataKey(dek_id, grant_id, plain))

    def forget(self, grant_id: UUID) -> None:
        """Drop a key from memory, such as one whose transaction failed."""
        with self._lock:
            self._open.pop(grant_id, None)

    def _keep(self, key: DataKey) -> DataKey:
        with self._lock:
            self._open[key.grant_id] = key
            while len(self._open) > MAX_OPEN_KEYS:
                self._open.popitem(last=False)
        return key
