"""Grants as they were, one or all of them, over any store.

A grant as it was is made from the last of its stored states before that point and the
events after it, so that a hundred thousand events cost as much as a hundred. A state
that is missing, or that no key of the ring proves, only costs time: events decide.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from uuid import UUID

import msgspec
from eventsourcing.persistence import Cursor

from grantledger.adapters.ledger.doing import Doing
from grantledger.adapters.ledger.reading import LeafReader, LogSql, log_size
from grantledger.adapters.ledger.rows import GrantRows
from grantledger.adapters.ledger.shapes import EVENTS_BY_TOPIC
from grantledger.adapters.ledger.tombstones import is_erased
from grantledger.adapters.ledger.touching import decoded, recorded_at
from grantledger.domain.errors import IntegrityError, InvalidRequest, WrongKey
from grantledger.domain.fleet import AsOf, GrantFilter, GrantPage, Learned, check_limit
from grantledger.domain.user_grant import UserGrant
from grantledger.projections.as_of import as_of, prefix_at
from grantledger.projections.differences import Change

LOOKED_AT = 500
"""Grants that are read for one page."""

SCANNED = 5_000
"""Rows whose clear columns are looked at for one page."""

END_OF_SCAN = (
    "SELECT count(*), max(grant_id) FROM (SELECT grant_id FROM current_grants"
    " WHERE grant_id > ? ORDER BY grant_id LIMIT ?) w"
)
"""How many of the next rows there are, and the last of them."""

OF_PROVIDER = "g.provider || '' = ?"
"""Looked at row by row: by an index of providers, every page would be found among all
grants of one, and sorted."""

LATER = 5_000
"""Events after a time that are asked whether they happened before it."""

_STATE = (
    "SELECT grant_id, version, leaf_index, provider, subject_digest, status,"
    " generation, due_at, modified_at, state, code, version FROM grant_states"
)


class _Happened(msgspec.Struct):
    occurred_at: datetime
    obtained_at: datetime | None = None


class _Told(msgspec.Struct):
    recorded_at: datetime
    fields: _Happened


_TOLD = msgspec.json.Decoder(_Told)


class TimeTravel(Doing):
    """The part of a store's ledger that tells how things were; safe in threads."""

    _rows: GrantRows
    _leaves: LeafReader
    _sql: LogSql
    _select: str

    async def size_at(self, at: datetime) -> int:
        """Return how many leaves the log had at a time (see `as_of.prefix_at`)."""
        return await self._read(lambda c: self._size_at(c, at))

    async def size(self, wanted: int | None = None) -> int:
        """Return how many leaves the log has, or `wanted` if it had so many.

        Raises:
            InvalidRequest: it never had so many.
        """

        def read(c: Cursor) -> int:
            size = log_size(c)
            if wanted is not None and not 0 <= wanted <= size:
                raise InvalidRequest(f"the log has {size} leaves", "position")
            return size if wanted is None else wanted

        return await self._read(read)

    async def as_of(
        self,
        grant_id: UUID,
        *,
        at: datetime | None = None,
        version: int | None = None,
        position: int | None = None,
    ) -> AsOf | None:
        """Return a grant as it was at a time, a version or a leaf, or as it is.

        Returns None where it was not there yet, or never had that version.

        Args:
            grant_id: whose.
            at: aware UTC; what was recorded by then.
            version: its newest then.
            position: index of the newest leaf then.

        Raises:
            InvalidRequest: `at` names no time zone, `version` is below 1, or there is
                no leaf of that index.
        """
        if at is not None and at.utcoffset() is None:
            raise InvalidRequest("at names no time zone", "at")
        if version is not None and version < 1:
            raise InvalidRequest(f"version is {version}; the first is 1", "version")

        def read(c: Cursor) -> AsOf | None:
            size = log_size(c)
            if position is not None:
                if not 0 <= position < size:
                    raise InvalidRequest(
                        f"position is {position}; the log has {size} leaves", "position"
                    )
                size = position + 1
            if at is not None:
                size = min(size, self._size_at(c, at))
            found = self._as_of(c, grant_id, size, version)
            if found and version is not None and found.grant.version != version:
                return None
            return found

        return await self._read(read)

    async def learned_later(self, grant_id: UUID, at: datetime) -> Sequence[Learned]:
        """Return what had happened to a grant by a time, and was recorded after it.

        Such as an answer that waited on disk while the ledger could not be written. Of
        the `LATER` events after that time, those are looked at that come first.
        """

        def read(c: Cursor) -> Sequence[Learned]:
            c.execute(
                f"SELECT {self._sql.number} - 1, topic, state, leaf_hash"  # noqa: S608 - constants only
                f" FROM stored_events WHERE originator_id=? AND {self._sql.number} > ?"
                " ORDER BY originator_version LIMIT ?",
                (grant_id.hex, self._size_at(c, at), LATER),
            )
            found: list[Learned] = []
            for leaf, topic, state, hashed in c.fetchall():
                told: _Told = decoded(_TOLD, leaf, state, hashed)
                said = told.fields
                happened_at = min(
                    said.occurred_at, said.obtained_at or said.occurred_at
                )
                kind = EVENTS_BY_TOPIC.get(topic)
                if kind is None:
                    raise IntegrityError(f"leaf {leaf} is no event of a grant")
                if happened_at <= at < told.recorded_at:
                    name = kind.__name__
                    found.append(Learned(leaf, name, happened_at, told.recorded_at))
            return found

        return await self._read(read)

    async def page_at(
        self,
        wanted: GrantFilter,
        size: int,
        *,
        after: UUID | None = None,
        limit: int = 100,
    ) -> GrantPage:
        """Return the next grants by id, as they were when the log had `size` leaves.

        As `Fleet.page`, but for what changes meanwhile: nothing of it is seen.
        """
        check_limit(limit)

        def read(c: Cursor) -> GrantPage:
            found: list[UserGrant] = []
            rows, more = self._some(c, wanted.provider, after)
            for grant_id, newest in rows:
                if newest < size:
                    c.execute(self._select + "WHERE g.grant_id=?", (grant_id.hex,))
                    grant = self._rows.read(c, c.fetchone())
                else:
                    then = self._as_of(c, grant_id, size)
                    if then is None:
                        continue
                    grant = then.grant
                if wanted.matches(grant):
                    found.append(grant)
                    if len(found) == limit:
                        return GrantPage(found, grant_id)
            return GrantPage(found, more)

        return await self._read(read)

    async def changes(
        self,
        sizes: tuple[int, int],
        *,
        provider: str | None = None,
        after: UUID | None = None,
        limit: int = 100,
    ) -> tuple[Sequence[Change], UUID | None]:
        """Return grants, by id, that changed between two sizes of the log.

        Returns the changes, and where the next page begins, None at the end. A page may
        hold fewer than were asked for, or none, and still have a next one.
        """
        check_limit(limit)
        first, last = sizes

        def read(c: Cursor) -> tuple[Sequence[Change], UUID | None]:
            found: list[Change] = []
            rows, more = self._some(c, provider, after, first)
            for grant_id, _ in rows:
                changed = self._change(c, grant_id, first, last)
                if changed is not None:
                    found.append(changed)
                    if len(found) == limit:
                        return found, grant_id
            return found, more

        return await self._read(read)

    async def check_states(self, grant_id: UUID) -> int:
        """Return how many stored states of a grant are what a replay makes.

        Raises:
            IntegrityError: one is not, or does not prove itself.
        """

        def read(c: Cursor) -> int:
            c.execute(f"{_STATE} WHERE grant_id=? ORDER BY version", (grant_id.hex,))
            rows = {int(row[1]): row for row in c.fetchall()}
            if not rows or is_erased(c, grant_id):
                return 0
            grant: UserGrant | None = None
            count = len(rows)
            for leaf, event in self._leaves.events_of(c, grant_id):
                grant = event.mutate(grant)
                row = rows.pop(event.originator_version, None)
                if row is None:
                    continue
                try:
                    stored = self._rows.read(c, row)
                except WrongKey:
                    continue  # its key was retired: it is not used any more
                if grant is None or (stored.state, row[2]) != (grant.state, leaf):
                    raise IntegrityError(
                        f"grant {grant_id}: its stored state of version {row[1]} "
                        "differs from its events"
                    )
            if rows:
                raise IntegrityError(
                    f"grant {grant_id} has a stored state of version {min(rows)}, "
                    "which it never had"
                )
            return count

        return await self._read(read)

    async def change(self, grant_id: UUID, sizes: tuple[int, int]) -> Change | None:
        """Return what changed of one grant, None where nothing did."""
        return await self._read(lambda c: self._change(c, grant_id, *sizes))

    # -- inside a transaction

    def _change(
        self, c: Cursor, grant_id: UUID, first: int, last: int
    ) -> Change | None:
        after = self._as_of(c, grant_id, last)
        if after is None or after.leaf_index < first:
            return None
        return Change(self._as_of(c, grant_id, first), after)

    def _some(
        self,
        c: Cursor,
        provider: str | None,
        after: UUID | None,
        first: int = 0,
    ) -> tuple[list[tuple[UUID, int]], UUID | None]:
        """Return (id, newest leaf) of the next grants by id, and where to go on.

        Those that have changed since `first`, of a bounded number of rows.
        """
        start = after.hex if after else ""
        c.execute(END_OF_SCAN, (start, SCANNED))
        count, end = c.fetchone()
        if not count:
            return [], None
        narrowed = "" if provider is None else f" AND {OF_PROVIDER}"
        c.execute(
            "SELECT g.grant_id, g.leaf_index FROM current_grants g"  # noqa: S608 - constants only
            f" WHERE g.grant_id > ? AND g.grant_id <= ? AND g.leaf_index >= ?{narrowed}"
            " ORDER BY g.grant_id LIMIT ?",
            (
                start,
                end,
                first,
                *(() if provider is None else (provider,)),
                LOOKED_AT,
            ),
        )
        rows = [(UUID(hex=row[0]), int(row[1])) for row in c.fetchall()]
        if len(rows) == LOOKED_AT:
            return rows, rows[-1][0]
        return rows, UUID(hex=end) if count == SCANNED else None

    def _as_of(
        self, c: Cursor, grant_id: UUID, size: int, version: int | None = None
    ) -> AsOf | None:
        start = self._stored_state(c, grant_id, size, version)
        begin = start.grant.version if start else 0
        events = self._leaves.events_of(
            c,
            grant_id,
            after=begin,
            size=size,
            limit=None if version is None else version - begin,
        )
        return as_of(events, size, version, start)

    def _stored_state(
        self, c: Cursor, grant_id: UUID, size: int, version: int | None
    ) -> AsOf | None:
        """Return the newest stored state up to a point, None without one.

        Of an erased grant there is none: what it held is nobody's to know any more.
        """
        narrowed = "" if version is None else " AND version <= ?"
        c.execute(
            f"{_STATE} WHERE grant_id=? AND leaf_index < ?{narrowed}"
            " ORDER BY version DESC LIMIT 1",
            (grant_id.hex, size, *(() if version is None else (version,))),
        )
        row = c.fetchone()
        if row is None or is_erased(c, grant_id):
            return None
        c.execute(
            f"SELECT {self._sql.number} - 1 FROM stored_events"  # noqa: S608 - constants only
            " WHERE originator_id=? AND originator_version=?",
            (grant_id.hex, row[1]),
        )
        leaf = c.fetchone()
        if leaf is None or leaf[0] != row[2]:
            return None  # of a log that is not this one any more
        try:
            grant = self._rows.read(c, row)
        except WrongKey:
            return None  # its key was retired
        return AsOf(grant, int(row[2]), size)

    def _size_at(self, c: Cursor, at: datetime) -> int:
        number = self._sql.number

        def times(start: int, end: int, limit: int) -> Sequence[tuple[int, datetime]]:
            c.execute(
                f"SELECT {number} - 1, state, leaf_hash FROM stored_events"  # noqa: S608 - constants only
                f" WHERE {number} > ? AND {number} <= ? AND length(state) > 0"
                f" ORDER BY {number} LIMIT ?",
                (start, end, limit),
            )
            return [
                (row[0], recorded_at(row[0], row[1], row[2])) for row in c.fetchall()
            ]

        return prefix_at(times, log_size(c), at)
