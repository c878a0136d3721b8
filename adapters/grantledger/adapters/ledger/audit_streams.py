"""Earlier events of a grant, as the fold of the audit trail asks for them.

Within one transaction of the caller's; what was read is kept for as long as it lasts.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any
from uuid import UUID

from eventsourcing.persistence import Cursor

from grantledger.adapters.ledger.reading import LeafReader
from grantledger.adapters.ledger.tombstones import Tombstones
from grantledger.domain.errors import IntegrityError
from grantledger.domain.event_base import GrantEvent
from grantledger.domain.grant_events import Exchanged, Provisioned
from grantledger.domain.user_grant import UserGrant
from grantledger.projections.audit_words import Mark

MAX_KEPT = 4_096
"""Events that are kept in memory."""

Current = Callable[[UUID], UserGrant | None]


class StoredStreams:
    """Implements `audit_rows.Streams` over a store.

    Args:
        c: in a transaction.
        leaves: decodes them.
        side: of the audit trail's tables, to find consents by; None: the grant's first
            consent stands for the one in force.
        current: returns a grant as its row says; None where it has none.
    """

    def __init__(
        self, c: Cursor, leaves: LeafReader, side: int | None, current: Current
    ) -> None:
        self._c = c
        self._leaves = leaves
        self._number = leaves.sql.number
        self._side = side
        self._current = current
        self._gone = Tombstones(c, self._number)
        self._kept: dict[tuple[UUID, int], GrantEvent] = {}
        self._grants: dict[UUID, UserGrant | None] = {}

    @property
    def gone(self) -> Tombstones:
        """What the log says is gone, as far as it was asked."""
        return self._gone

    def keep(self, event: GrantEvent) -> None:
        """Remember an event that was read anyway."""
        if len(self._kept) >= MAX_KEPT:
            self._kept.clear()
        self._kept[event.originator_id, event.originator_version] = event

    def first(self, grant_id: UUID) -> Provisioned | None:
        """Return the grant's first event; see `Streams.first`."""
        found = self._at(grant_id, 1)
        return found if isinstance(found, Provisioned) else None

    def consent(self, grant_id: UUID, leaf_index: int) -> Provisioned | None:
        """Return the consent in force at a leaf; see `Streams.consent`."""
        if self._side is None:
            return self.first(grant_id)
        self._c.execute(
            f"SELECT stream_seq FROM {self._leaves.sql.consents}"  # noqa: S608 - constants only
            " WHERE side=? AND grant_id=?"
            " AND event='Provisioned' AND leaf_index <= ?"
            " ORDER BY leaf_index DESC LIMIT 1",
            (self._side, grant_id.hex, leaf_index),
        )
        row = self._c.fetchone()
        found = self._at(grant_id, 1 if row is None else int(row[0]))
        return found if isinstance(found, Provisioned) else None

    def issued(self, grant_id: UUID, version: int) -> Exchanged | None:
        """Return the event that recorded a token; see `Streams.issued`."""
        found = self._at(grant_id, version)
        return found if isinstance(found, Exchanged) else None

    def last(
        self, grant_id: UUID, version: int, kinds: tuple[type[GrantEvent], ...]
    ) -> GrantEvent | None:
        """Return the newest event of these kinds; see `Streams.last`."""
        # The one just before has usually been read, and is usually the one.
        near = self._kept.get((grant_id, version - 1))
        if isinstance(near, kinds):
            return near
        asked = ",".join("?" * len(kinds))
        found = self._read(
            f"e.originator_version < ? AND e.topic IN ({asked})"
            " ORDER BY e.originator_version DESC LIMIT 1",
            (grant_id.hex, version, *(kind.TOPIC for kind in kinds)),
        )
        return found if isinstance(found, kinds) else None

    def owed(self, grant_id: UUID, ids: tuple[str, ...]) -> list[Mark]:
        """Return the tokens of obligations; see `Streams.owed`.

        None while rows are made: what is stored of them does not depend on it.
        """
        if self._side is None:
            return []
        if grant_id not in self._grants:
            self._grants[grant_id] = self._current(grant_id)
        grant = self._grants[grant_id]
        known = grant.state.obligations if grant else ()
        return [Mark(o.kind, o.fingerprint) for o in known if o.id in ids]

    def _at(self, grant_id: UUID, version: int) -> GrantEvent | None:
        kept = self._kept.get((grant_id, version))
        if kept is not None:
            return kept
        return self._read("e.originator_version = ?", (grant_id.hex, version))

    def _read(self, where: str, values: Sequence[object]) -> GrantEvent | None:
        self._c.execute(
            f"SELECT {self._leaves.sql.leaf} FROM stored_events e"  # noqa: S608 - constants only
            f" WHERE e.originator_id=? AND {where}",
            tuple(values),
        )
        row: Any = self._c.fetchone()
        if row is None:
            return None
        event = self._leaves.decode(self._c, row, gone=self._gone)
        if not isinstance(event, GrantEvent):
            raise IntegrityError(f"leaf {row[0] - 1} is no event of a grant")
        self.keep(event)
        return event
