"""Leaves as they are stored, with what of their sealed fields may be shown.

For evidence: the bytes that prove themselves, and beside them the plaintext of chosen
sealed fields, each with the one key that its leaf's commitment is checked with. No
field with a token or another secret is among them, and nothing of an erased grant.
"""

from __future__ import annotations

from collections.abc import Container, Sequence
from dataclasses import dataclass
from functools import cache, partial
from typing import Any, get_args, get_type_hints
from uuid import UUID

from eventsourcing.persistence import Cursor, StoredEvent

from grantledger.adapters.keys.envelope import SealedPart
from grantledger.adapters.ledger.doing import Reads
from grantledger.adapters.ledger.journal_leaves import journal_leaves
from grantledger.adapters.ledger.leaves import ENTRY_FIELD, Leaf, SealedRef, read_leaf
from grantledger.adapters.ledger.reading import LeafReader
from grantledger.adapters.ledger.shapes import EVENTS_BY_TOPIC
from grantledger.adapters.ledger.tombstones import Tombstones
from grantledger.domain.errors import IntegrityError
from grantledger.domain.journal import AccessRecorded
from grantledger.domain.ledger_events import LEDGER_STREAM, Pruned
from grantledger.domain.values import Secret
from grantledger.projections.transparency import leaf_hash

PORTION = 500
"""Leaves that are read in one transaction, so that none holds up the others."""


@dataclass(frozen=True, slots=True)
class Opened:
    """A sealed field's plaintext, and what its leaf's commitment is checked with."""

    index: int
    entry: int | None
    field: str
    grant_id: UUID
    plain: bytes
    commit_key: bytes

    def __repr__(self) -> str:
        """Show the place only."""
        return f"Opened(index={self.index}, entry={self.entry}, field={self.field!r})"


@dataclass(frozen=True, slots=True)
class Disclosed:
    """A leaf.

    Attributes:
        state: its bytes; empty where they were pruned.
        hashed: its hash, as stored.
        opened: those of its sealed fields that may be shown.
        gone: how many of its sealed fields an erasure has destroyed.
    """

    index: int
    state: bytes
    hashed: bytes
    opened: tuple[Opened, ...] = ()
    gone: int = 0


class Disclosing:
    """Reads leaves for evidence; safe in threads.

    Args:
        read: reads in a transaction of its own.
        leaves: of the same store.
    """

    def __init__(self, read: Reads, leaves: LeafReader) -> None:
        self._read = read
        self._leaves = leaves

    async def of_grant(
        self, grant_id: UUID, start: int, end: int, limit: int
    ) -> list[int]:
        """Return which of the leaves [start, end) speak of a grant, in order.

        Some more than `limit` where there are so many. Those that were pruned are
        not known.
        """

        def read(c: Cursor) -> list[int]:
            number = self._leaves.sql.number
            c.execute(
                f"SELECT {number} - 1 FROM stored_events WHERE originator_id=?"  # noqa: S608 - constants only
                f" AND {number} > ? AND {number} <= ?"
                " ORDER BY originator_version LIMIT ?",
                (grant_id.hex, start, end, limit + 1),
            )
            found = {int(row[0]) for row in c.fetchall()}
            speaks_of = self._leaves.sql.speaks_of
            found.update(journal_leaves(c, speaks_of, grant_id, end, start))
            return sorted(found)

        return await self._read(read)

    async def remains(self, grant_id: UUID) -> int:
        """Return how many data keys and ciphertexts of a grant are stored."""

        def read(c: Cursor) -> int:
            c.execute(
                "SELECT (SELECT count(*) FROM data_keys WHERE grant_id=?)"
                " + (SELECT count(*) FROM sealed WHERE grant_id=?)",
                (grant_id.hex, grant_id.hex),
            )
            return int(c.fetchone()[0])

        return await self._read(read)

    async def prunings(self, start: int, end: int) -> list[int]:
        """Return which of the leaves [start, end) say what was pruned, in order."""

        def read(c: Cursor) -> list[int]:
            number = self._leaves.sql.number
            c.execute(
                f"SELECT {number} - 1 FROM stored_events WHERE originator_id=?"  # noqa: S608 - constants only
                f" AND topic=? AND {number} > ? AND {number} <= ?"
                " ORDER BY originator_version",
                (LEDGER_STREAM.hex, Pruned.TOPIC, start, end),
            )
            return [int(row[0]) for row in c.fetchall()]

        return await self._read(read)

    async def leaves(
        self, indices: Sequence[int], owners: Container[UUID] | None
    ) -> list[Disclosed]:
        """Return the leaves with these indices, in their order.

        Args:
            indices: rising; the caller keeps them few, such as `PORTION`.
            owners: the grants whose sealed fields are opened; None for everybody's.

        Raises:
            IntegrityError: one is missing, or does not prove itself.
        """
        return await self._read(partial(self._disclosed, indices, owners))

    def _disclosed(
        self, indices: Sequence[int], owners: Container[UUID] | None, c: Cursor
    ) -> list[Disclosed]:
        log = self._leaves.sql
        gone = Tombstones(c, log.number)
        found: list[Disclosed] = []
        for index in indices:
            c.execute(
                f"SELECT {log.leaf} FROM stored_events e WHERE e.{log.number}=?",  # noqa: S608 - constants only
                (index + 1,),
            )
            row = c.fetchone()
            if row is None:
                raise IntegrityError(f"leaf {index} is missing")
            state, hashed = bytes(row[4]), bytes(row[5])
            if not state:
                found.append(_pruned(index, row, hashed, gone))
                continue
            if leaf_hash(state) != hashed:
                raise IntegrityError(f"leaf {index} differs from its hash")
            leaf = read_leaf(StoredEvent(UUID(hex=row[1]), row[2], row[3], state))
            opened, lost = self._opened(c, index, leaf, owners, gone)
            found.append(Disclosed(index, state, hashed, opened, lost))
        return found

    def _opened(
        self,
        c: Cursor,
        index: int,
        leaf: Leaf,
        owners: Container[UUID] | None,
        gone: Tombstones,
    ) -> tuple[tuple[Opened, ...], int]:
        said: list[SealedRef] = []
        lost = 0
        for ref in leaf.sealed:
            if not shown(leaf.type, ref.field):
                continue
            # Who erased a grant is sealed for the ledger, in the grant's own stream.
            by = ref.grant_id if leaf.entries else leaf.stream
            if owners is not None and ref.grant_id not in owners and by not in owners:
                continue
            if gone.erased(ref.grant_id):
                lost += 1
                continue
            said.append(ref)
        if not said:
            return (), lost
        c.execute(
            "SELECT entry, field, grant_id, dek_id, ct FROM sealed WHERE leaf_index=?",
            (index,),
        )
        stored = {(int(row[0]), str(row[1])): row for row in c.fetchall()}
        return tuple(self._open(c, index, leaf, ref, stored) for ref in said), lost

    def _open(
        self,
        c: Cursor,
        index: int,
        leaf: Leaf,
        ref: SealedRef,
        stored: dict[tuple[int, str], Any],
    ) -> Opened:
        row = stored.get((-1 if ref.entry is None else ref.entry, ref.field))
        if row is None:
            raise IntegrityError(f"leaf {index} lacks its sealed field {ref.field!r}")
        part = SealedPart(
            ref.entry,
            UUID(hex=row[2]),
            ref.field,
            row[3],
            bytes(row[4]),
            ref.ct_sha256,
            ref.commit,
        )
        key = self._leaves.keys.load(c, ref.grant_id)
        plain = key.open(part, leaf.event_id, ref.entry, ref.field)
        return Opened(
            index,
            ref.entry,
            ref.field,
            ref.grant_id,
            plain,
            key.commit_key(leaf.event_id, ref.entry, ref.field),
        )


def _pruned(
    index: int, row: Sequence[Any], hashed: bytes, gone: Tombstones
) -> Disclosed:
    if not gone.pruned(UUID(hex=row[1]), row[2]):
        raise IntegrityError(f"leaf {index} is empty, and no Pruned event covers it")
    return Disclosed(index, b"", hashed)


@cache
def shown(topic: str, field: str) -> bool:
    """Tell whether a sealed field may ever be shown: it holds no token, no secret."""
    if topic == AccessRecorded.TOPIC:
        return field == ENTRY_FIELD
    cls = EVENTS_BY_TOPIC.get(topic)
    if cls is None or field not in cls.SEALED:
        return False
    return not _secret(get_type_hints(cls)[field])


def _secret(hint: Any) -> bool:  # noqa: ANN401 - any type that a field may have
    inner = get_args(hint)
    if inner:
        return any(_secret(one) for one in inner)
    return isinstance(hint, type) and issubclass(hint, Secret)
