"""What is stored under an older key, made anew under the active one: while others work.

In bounded batches, each a transaction of its own; what changes meanwhile is left as it
is, and found again by the next pass. May be ended at any moment and called again.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from eventsourcing.persistence import Cursor

from grantledger.adapters.keys.framing import first_part
from grantledger.adapters.ledger.doing import Doing
from grantledger.adapters.ledger.rows import GrantRows
from grantledger.domain.errors import IntegrityError

T = TypeVar("T")
BATCH = 200
"""Rows in a transaction, so that no append waits for long."""


@dataclass(frozen=True, slots=True)
class Rewrapped:
    """One data key in its old and its new wrapping."""

    grant_id: str
    old: bytes
    kek_id: str
    new: bytes


@dataclass(frozen=True, slots=True)
class Recoded:
    """One row of `current_grants` with its old and its new code."""

    grant_id: str
    old: bytes
    new: bytes


class Rekeyed(Doing):
    """The part of a store's ledger that changes keys; safe in threads."""

    _rows: GrantRows
    _select: str

    # -- what a store provides

    @abstractmethod
    def _ready(self) -> None:
        """Raise LedgerReadOnly where this process may not."""

    @abstractmethod
    def _rewrap(self, keys: Sequence[Rewrapped]) -> int:
        """Store the wrappings whose old one is still there; return how many."""

    @abstractmethod
    def _recode(self, rows: Sequence[Recoded]) -> int:
        """Store the codes whose old one is still there; return how many."""

    @abstractmethod
    def _reseal_client(self, provider: str, old: bytes, new: bytes) -> bool:
        """Store a client as sealed anew, unless it changed; tell whether."""

    @abstractmethod
    def _retire_key(self, key_id: str) -> None:
        """Keep in mind that nobody needs this key any more."""

    # -- changing

    async def rewrap(self) -> int:
        """Wrap every data key with the active key; return how many were not.

        In one go from the lowest grant id to the highest: what others wrap with an
        older key behind it is left to the next.

        Raises:
            WrongKey: the ring does not open one; it is named.
            LedgerReadOnly: this process may not.
        """
        await self._in_thread(self._ready)
        done, after = 0, ""
        while True:

            def page(c: Cursor, after: str = after) -> list[Any]:
                c.execute(
                    "SELECT dek_id, grant_id, kek_id, wrapped FROM data_keys"
                    " WHERE kek_id <> ? AND grant_id > ? ORDER BY grant_id LIMIT ?",
                    (self._rows.wrapping, after, BATCH),
                )
                return list(c.fetchall())

            rows = await self._read(page)
            if not rows:
                return done
            after = rows[-1][1]
            keys = [
                Rewrapped(row[1], bytes(row[3]), *self._rows.rewrapped(row))
                for row in rows
            ]

            def store(keys: Sequence[Rewrapped] = keys) -> int:
                return self._rewrap(keys)

            done += await self._in_thread(store)

    async def recode(self) -> int:
        """Give every grant's row a code of the active key; return how many had none.

        Raises:
            IntegrityError: a row was changed; it is named.
            LedgerReadOnly: this process may not.
        """
        await self._in_thread(self._ready)
        done, after = 0, ""
        while True:

            def page(c: Cursor, after: str = after) -> list[Any]:
                c.execute(
                    self._select + "WHERE g.grant_id > ? ORDER BY g.grant_id LIMIT ?",
                    (after, BATCH),
                )
                return list(c.fetchall())

            found = await self._read(page)
            if not found:
                return done
            after = found[-1][0]
            rows = [
                Recoded(row[0], bytes(row[10]), code)
                for row in found
                if (code := self._rows.recoded(row)) is not None
            ]
            if rows:

                def store(rows: Sequence[Recoded] = rows) -> int:
                    return self._recode(rows)

                done += await self._in_thread(store)

    async def clients(self) -> dict[str, bytes]:
        """Return the sealed registrations of clients, by provider."""

        def read(c: Cursor) -> dict[str, bytes]:
            c.execute("SELECT provider, sealed FROM provider_clients")
            return {row[0]: bytes(row[1]) for row in c.fetchall()}

        return await self._read(read)

    async def reseal_client(self, provider: str, old: bytes, new: bytes) -> bool:
        """Keep a client as sealed anew, unless it was renewed; tell whether.

        Raises:
            LedgerReadOnly: this process may not.
        """
        await self._in_thread(self._ready)
        return await self._in_thread(lambda: self._reseal_client(provider, old, new))

    async def retire_key(self, key_id: str) -> None:
        """Let rings lack this key; see that `keys_used` does not name it before."""
        await self._in_thread(self._ready)
        await self._in_thread(lambda: self._retire_key(key_id))

    # -- looking

    async def wrapping_keys(self) -> dict[str, int]:
        """Return how many data keys each key wraps."""

        def read(c: Cursor) -> dict[str, int]:
            c.execute("SELECT kek_id, count(*) FROM data_keys GROUP BY kek_id")
            return {row[0]: int(row[1]) for row in c.fetchall()}

        return await self._read(read)

    async def coding_keys(self) -> dict[str, int]:
        """Return how many rows of grants each key has made the code of."""
        counts: dict[str, int] = {}
        after = ""
        while True:

            def page(c: Cursor, after: str = after) -> list[Any]:
                c.execute(
                    "SELECT grant_id, code FROM current_grants WHERE grant_id > ?"
                    " ORDER BY grant_id LIMIT ?",
                    (after, BATCH * 10),
                )
                return list(c.fetchall())

            found = await self._read(page)
            if not found:
                return counts
            after = found[-1][0]
            for grant_id, code in found:
                split = first_part(bytes(code))
                if split is None:
                    raise IntegrityError(f"the row of grant {grant_id} was changed")
                name = split[0].decode("latin-1")
                counts[name] = counts.get(name, 0) + 1

    async def fingerprinting(self, key_id: str) -> bool:
        """Tell whether a token of the index has a fingerprint of this key.

        As long as older leaves are not indexed yet, any key may have made one of
        theirs.
        """

        def read(c: Cursor) -> bool:
            c.execute("SELECT 1 FROM token_index_missing WHERE next_index < end_index")
            if c.fetchone() is not None:
                return True
            # What the id's own wildcards match beside it errs to the safe side.
            c.execute(
                "SELECT 1 FROM token_index WHERE fingerprint LIKE ? LIMIT 1",
                (f"hmac-sha256:{key_id}:%",),
            )
            return c.fetchone() is not None

        return await self._read(read)
