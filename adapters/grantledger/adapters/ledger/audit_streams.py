"""Earlier events of a grant, as the fold of the audit trail asks for them.

Within one transaction of the caller's; what was read is kept for as long as it lasts.
While rows are made, only what is stored of them is looked up: they do not depend on
the rest, and most of them need no earlier event at all.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from typing import Any
from uuid import UUID

import msgspec
from eventsourcing.persistence import Cursor

from grantledger.adapters.keys.envelope import SealedPart
from grantledger.adapters.ledger.issued_tokens import IssuedTokens
from grantledger.adapters.ledger.reading import (
    EVERY_LEAF,
    LeafReader,
    leaves_at,
    parts_at,
)
from grantledger.adapters.ledger.tombstones import Tombstones
from grantledger.adapters.ledger.touching import decoded
from grantledger.domain.errors import IntegrityError
from grantledger.domain.event_base import GrantEvent
from grantledger.domain.grant_events import Exchanged, Provisioned
from grantledger.domain.journal import AccessEntry, AccessRecorded
from grantledger.domain.user_grant import UserGrant
from grantledger.projections.audit_folded import Issued, Recorded
from grantledger.projections.audit_words import Mark

MAX_KEPT = 4_096
"""Events that are kept in memory."""
ASKED = frozenset({"subject", "label", "client_id", "fingerprint", "jti"})
"""What is opened of an earlier event: all that rows say of it, and no token."""


class _Fields(msgspec.Struct):
    provider: str


class _First(msgspec.Struct):
    """What of a grant's first leaf stands in the clear and is asked for."""

    fields: _Fields


_FIRST = msgspec.json.Decoder(_First)
Current = Callable[[UUID], UserGrant | None]
Place = tuple[UUID, int]


class StoredStreams:
    """Implements `audit_rows.Streams` over a store.

    Args:
        c: in a transaction.
        leaves: decodes them.
        side: of the audit trail's tables, to find consents by; None while rows are
            made.
        current: returns a grant as its row says; None where it has none.
        remembered: tokens of earlier batches, which takes those of this one as well;
            None where everything is to be read.
    """

    def __init__(
        self,
        c: Cursor,
        leaves: LeafReader,
        side: int | None,
        current: Current,
        remembered: IssuedTokens | None = None,
    ) -> None:
        self._c = c
        self._leaves = leaves
        self._number = leaves.sql.number
        self._side = side
        self._current = current
        self._gone = Tombstones(c, self._number)
        self._kept: dict[tuple[int, int], GrantEvent] = {}
        self._grants: dict[UUID, UserGrant | None] = {}
        self._providers: dict[int, str] = {}
        self._remembered = remembered
        self._consents: dict[int, tuple[int, int, int]] = {}

    @property
    def gone(self) -> Tombstones:
        """What the log says is gone, as far as it was asked."""
        return self._gone

    def keep(self, event: GrantEvent) -> None:
        """Remember an event that was read anyway."""
        if len(self._kept) >= MAX_KEPT:
            self._kept.clear()
        self._kept[event.originator_id.int, event.originator_version] = event

    def foresee(self, events: Iterable[Recorded]) -> None:
        """Read at once what the rows of these events will ask for.

        What does not prove itself is left to who asks for it.
        """
        tokens: list[Place] = []
        firsts: dict[tuple[int, int], Place] = {}
        for event in events:
            if isinstance(event, AccessRecorded):
                tokens += tokens_of(event.entries)
            elif isinstance(event, GrantEvent):
                self.keep(event)
                stream = event.originator_id
                if stream.int not in self._providers:
                    firsts[stream.int, 1] = stream, 1
        self.tokens(tokens)
        missing = [at for key, at in firsts.items() if key not in self._kept]
        for row in leaves_at(self._c, self._leaves.sql, missing):
            with suppress(IntegrityError):
                self._providers[UUID(hex=row[1]).int] = _provider(row)

    def tokens(self, places: Iterable[Place]) -> None:
        """Read at once the events of these tokens, as far as they are not known."""
        asked = {(grant_id.int, seq): (grant_id, seq) for grant_id, seq in places}
        some = [at for key, at in asked.items() if key not in self._kept]
        if self._remembered is not None:
            sql = self._leaves.sql
            self._gone.look([grant_id for grant_id, _ in some], sql.stream_of)
            some = [at for at in some if self._known(*at) is None]
        self._read_at(some)

    def provider(self, grant_id: UUID) -> str:
        """Return the grant's provider; see `Streams.provider`."""
        kept = self._kept.get((grant_id.int, 1))
        if isinstance(kept, Provisioned):
            return kept.provider
        said = self._providers.get(grant_id.int)
        if said is None:
            said = self._providers[grant_id.int] = self._provider(grant_id)
        return said

    def first(self, grant_id: UUID) -> Provisioned | None:
        """Return the grant's first event; see `Streams.first`."""
        return None if self._side is None else self._consented(grant_id, 1)

    def consent(self, grant_id: UUID, leaf_index: int) -> Provisioned | None:
        """Return the consent in force at a leaf; see `Streams.consent`."""
        if self._side is None:
            return None
        known = self._consents.get(grant_id.int)
        if known is None or not known[0] <= leaf_index < known[1]:
            known = self._in_force(self._side, grant_id, leaf_index)
            self._consents[grant_id.int] = known
        return self._consented(grant_id, known[2])

    def _in_force(
        self, side: int, grant_id: UUID, leaf_index: int
    ) -> tuple[int, int, int]:
        """Return from and until which leaf a consent is in force, and its version.

        A page goes from leaf to leaf, so that each consent is looked for once.
        """
        found: list[tuple[int, int]] = []
        for beside, order in (("<=", "DESC"), (">", "ASC")):
            self._c.execute(
                f"SELECT leaf_index, stream_seq FROM {self._leaves.sql.consents}"  # noqa: S608 - constants only
                " WHERE side=? AND grant_id=? AND event='Provisioned'"
                f" AND leaf_index {beside} ? ORDER BY leaf_index {order} LIMIT 1",
                (side, grant_id.hex, leaf_index),
            )
            row = self._c.fetchone()
            found.append((-1, 1) if row is None else (int(row[0]), int(row[1])))
        (since, version), (until, _) = found
        return since, EVERY_LEAF if until < 0 else until, version

    def issued(self, grant_id: UUID, version: int) -> Issued | None:
        """Return what the event of a token says; see `Streams.issued`."""
        known = self._known(grant_id, version)
        if known is not None:
            return known
        found = self._at(grant_id, version)
        if not isinstance(found, Exchanged):
            return None
        said = Issued(found.fingerprint, found.jti, found.scopes)
        if self._remembered is not None and self._gone.there(grant_id):
            self._remembered.keep(grant_id, version, said)
        return said

    def _known(self, grant_id: UUID, version: int) -> Issued | None:
        """Return what is remembered of a token, unless its grant was erased."""
        if self._remembered is None or not self._gone.there(grant_id):
            return None
        return self._remembered.get(grant_id, version)

    def last(
        self, grant_id: UUID, version: int, kinds: tuple[type[GrantEvent], ...]
    ) -> GrantEvent | None:
        """Return the newest event of these kinds; see `Streams.last`."""
        # Those just before have usually been read.
        while (near := self._kept.get((grant_id.int, version - 1))) is not None:
            if isinstance(near, kinds):
                return near
            version -= 1
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

    def _consented(self, grant_id: UUID, version: int) -> Provisioned | None:
        try:
            found = self._at(grant_id, version)
        except IntegrityError:
            # Its own row says so; other rows are shown without what it said.
            return None
        return found if isinstance(found, Provisioned) else None

    def _provider(self, grant_id: UUID) -> str:
        rows = leaves_at(self._c, self._leaves.sql, [(grant_id, 1)])
        return next((_provider(row) for row in rows), "")

    def _read_at(self, places: Sequence[tuple[UUID, int]]) -> None:
        """Read events of grants, those that prove themselves."""
        rows = list(leaves_at(self._c, self._leaves.sql, places))
        parts = parts_at(self._c, [int(row[0]) - 1 for row in rows])
        self._leaves.expect(self._c, parts, self._gone)
        for row in rows:
            with suppress(IntegrityError):
                self._decoded(row, parts.get(int(row[0]) - 1, ()))

    def _at(self, grant_id: UUID, version: int) -> GrantEvent | None:
        kept = self._kept.get((grant_id.int, version))
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
        return None if row is None else self._decoded(row)

    def _decoded(
        self, row: Sequence[Any], parts: Sequence[SealedPart] | None = None
    ) -> GrantEvent:
        event = self._leaves.decode(
            self._c, row, gone=self._gone, parts=parts, opened=ASKED
        )
        if not isinstance(event, GrantEvent):
            raise IntegrityError(f"leaf {row[0] - 1} is no event of a grant")
        self.keep(event)
        return event


def tokens_of(entries: Iterable[AccessEntry]) -> list[Place]:
    """Return where the tokens of these entries were recorded."""
    return [
        (entry.grant_id, entry.token_ref)
        for entry in entries
        if entry.grant_id is not None and entry.token_ref is not None
    ]


def _provider(row: Sequence[Any]) -> str:
    """Return the provider that a grant's first leaf says; "" of any other leaf."""
    if row[3] != Provisioned.TOPIC:
        return ""
    first: _First = decoded(_FIRST, int(row[0]) - 1, row[4], row[5])
    return first.fields.provider
