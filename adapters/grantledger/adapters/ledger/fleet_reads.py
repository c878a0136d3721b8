"""Many grants at once, over any store: pages, tokens, and how things were.

See `domain.fleet.Fleet`. No read takes more than a bounded number of rows.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import AsyncIterator, Sequence
from datetime import datetime
from functools import partial
from typing import TypeVar
from uuid import UUID

from eventsourcing.persistence import Cursor

from grantledger.adapters.keys.fingerprints import JTI
from grantledger.adapters.ledger import token_rows
from grantledger.adapters.ledger.histories import Histories
from grantledger.adapters.ledger.reading import log_size, parts_of
from grantledger.adapters.ledger.rows import micros
from grantledger.adapters.ledger.time_travel import END_OF_SCAN, OF_PROVIDER
from grantledger.adapters.ledger.token_rows import JtiMark, TokenRow
from grantledger.adapters.ledger.tombstones import Tombstones
from grantledger.adapters.ledger.touching import MARGIN, Window
from grantledger.domain.errors import Unavailable
from grantledger.domain.event_base import GrantEvent
from grantledger.domain.fleet import (
    MAX_PAGE,
    GrantFilter,
    GrantPage,
    TokenPlace,
    Touched,
    check_limit,
)
from grantledger.domain.journal import AccessRecorded
from grantledger.domain.user_grant import UserGrant
from grantledger.domain.values import (
    GrantKey,
    TokenFingerprint,
    TokenKind,
)

T = TypeVar("T")


def places_of(marks: int) -> str:
    """Return the query for the places of so many fingerprints, the newest first.

    By its sign the order is no index's: of fingerprints the database has no statistics,
    and would rather walk another index backwards.
    """
    asked = ",".join("?" * marks)
    return (
        "SELECT grant_id, kind, generation, leaf_index FROM token_index"  # noqa: S608 - question marks only
        f" WHERE fingerprint IN ({asked}) ORDER BY +leaf_index DESC LIMIT ?"
    )


class FleetReads(Histories):
    """The part of a store's ledger that answers for many grants; safe in threads.

    Attributes:
        scanned: rows whose clear columns are looked at for one page.
        opened: rows that are opened for one page, where what is sealed decides.
        walked: leaves of one portion of the log.
        completed: leaves whose tokens are indexed in one transaction.
    """

    scanned = 5_000
    opened = 500
    walked = 2_000
    completed = 500

    # -- what a store provides

    @abstractmethod
    def _complete_tokens(self, start: int, end: int, rows: Sequence[TokenRow]) -> None:
        """Store rows of the leaves `start` to `end`, of which none are complete yet."""

    # -- domain.fleet.Fleet

    async def page(
        self, wanted: GrantFilter, *, after: UUID | None = None, limit: int = 100
    ) -> GrantPage:
        """Return the next grants by id; see `Fleet.page`."""
        check_limit(limit)
        return await self._read(lambda c: self._page(c, wanted, after, limit))

    async def each(self, wanted: GrantFilter) -> AsyncIterator[UserGrant]:
        """Yield every grant that fits, by id, a page at a time in memory."""
        after: UUID | None = None
        while True:
            page = await self.page(wanted, after=after)
            for grant in page.grants:
                yield grant
            after = page.after
            if after is None:
                return

    def _page(
        self, c: Cursor, wanted: GrantFilter, after: UUID | None, limit: int
    ) -> GrantPage:
        start = after.hex if after else ""
        opened = self.opened if wanted.sealed else limit
        where, values = self._narrowed(wanted)
        end: str | None = None
        if where:
            # Of rows that a column leaves out there may be any number.
            c.execute(END_OF_SCAN, (start, self.scanned))
            count, last = c.fetchone()
            if not count:
                return GrantPage((), None)
            end = last if count == self.scanned else None
            where, values = f" AND g.grant_id <= ?{where}", (last, *values)
        c.execute(
            f"{self._select}WHERE g.grant_id > ?{where} ORDER BY g.grant_id LIMIT ?",
            (start, *values, opened),
        )
        rows = c.fetchall()
        self._rows.expect(c, rows)
        found: list[UserGrant] = []
        for number, row in enumerate(rows, 1):
            grant = self._rows.read(c, row)
            if not wanted.matches(grant):
                continue
            found.append(grant)
            if len(found) == limit and number < len(rows):
                return GrantPage(found, grant.id)
        if len(rows) == opened:
            return GrantPage(found, UUID(hex=rows[-1][0]))
        return GrantPage(found, None if end is None else UUID(hex=end))

    def _narrowed(self, wanted: GrantFilter) -> tuple[str, tuple[object, ...]]:
        """Return what the clear columns decide."""
        wheres: list[tuple[str, object]] = []
        if wanted.provider is not None:
            by_index = wanted.status or (wanted.subject and wanted.label)
            wheres.append(
                ("g.provider = ?" if by_index else OF_PROVIDER, wanted.provider)
            )
        if wanted.status is not None:
            wheres.append(("g.status = ?", str(wanted.status)))
        if wanted.modified_from is not None:
            wheres.append(("g.modified_at >= ?", micros(wanted.modified_from)))
        if wanted.modified_until is not None:
            wheres.append(("g.modified_at < ?", micros(wanted.modified_until)))
        if wanted.provider and wanted.subject and wanted.label:
            key = GrantKey(wanted.provider, wanted.subject, wanted.label)
            wheres.append(("g.subject_digest = ?", self._rows.digest(key)))
        return (
            "".join(f" AND {where}" for where, _ in wheres),
            tuple(value for _, value in wheres),
        )

    async def fingerprints(self, token: str) -> Sequence[TokenFingerprint]:
        """Return a token's fingerprints, of either kind and under every key."""
        return self._marks(token, None)

    def _marks(self, token: str, kind: TokenKind | None) -> list[TokenFingerprint]:
        kinds = TokenKind if kind is None else (kind,)
        return [mark for k in kinds for mark in self._rows.fingerprints.all(k, token)]

    async def find_token(
        self, token: str, kind: TokenKind | None = None
    ) -> TokenPlace | None:
        """Return where a token came into the record; see `Fleet.find_token`."""
        found = await self._places(self._marks(token, kind))
        return found[0] if found else None

    async def find_fingerprint(self, mark: TokenFingerprint) -> Sequence[TokenPlace]:
        """Return where a token came into the record; see `Fleet.find_fingerprint`."""
        return await self._places([mark], every=True)

    async def find_jti(self, jti: str) -> Sequence[TokenPlace]:
        """Return where a JWT of this `jti` is spoken of; see `Fleet.find_jti`."""
        return await self._places(self._rows.fingerprints.jtis(jti), every=True)

    async def _places(
        self, marks: Sequence[TokenFingerprint], *, every: bool = False
    ) -> list[TokenPlace]:
        def read(c: Cursor) -> list[TokenPlace]:
            c.execute(places_of(len(marks)), (*marks, MAX_PAGE))
            found = [
                TokenPlace(UUID(hex=row[0]), _kind(row[1]), row[2], row[3])
                for row in c.fetchall()
            ]
            if (every or not found) and _missing(c) is not None:
                raise Unavailable(
                    "the tokens of an older ledger are not all indexed yet; "
                    "a worker does that",
                    retry_after=5.0,
                )
            return found

        return await self._read(read)

    async def touched(
        self,
        caller: str | None,
        start: datetime | None,
        end: datetime | None,
        *,
        after: int = 0,
    ) -> Touched:
        """Return grants, from a portion of the log; see `Fleet.touched`."""

        def read(c: Cursor) -> Touched:
            first = self._size_at(c, start - MARGIN) if start else 0
            last = self._size_at(c, end + MARGIN) if end else log_size(c)
            begin = max(after, first)
            stop = min(begin + self.walked, last)
            window = Window(caller, start, end)
            found = window.touched(c, self._sql.number, begin, stop, last)
            return Touched(found, stop if stop < last else None)

        return await self._read(read)

    async def event_at(self, leaf_index: int) -> GrantEvent | None:
        """Return the event of a grant that is this leaf, None where it is none.

        Raises:
            IntegrityError: the leaf does not prove itself.
        """

        def read(c: Cursor) -> GrantEvent | None:
            c.execute(
                f"SELECT {self._sql.leaf} FROM stored_events e"  # noqa: S608 - constants only
                f" WHERE e.{self._sql.number} = ?",
                (leaf_index + 1,),
            )
            row = c.fetchone()
            event = None if row is None else self._leaves.decode(c, row)
            return event if isinstance(event, GrantEvent) else None

        return await self._read(read)

    # -- the index of tokens

    async def complete_tokens(self) -> int:
        """Index the tokens of leaves from before there was an index; return how many.

        In portions, so that no transaction holds up the others for long; a run that
        was cut short is taken up where it ended.
        """
        made = 0
        while True:
            portion = await self._read(self._portion)
            if portion is None:
                return made
            start, end, rows = portion
            await self._in_thread(partial(self._complete_tokens, start, end, rows))
            made += len(rows)

    def _portion(self, c: Cursor) -> tuple[int, int, list[TokenRow]] | None:
        missing = _missing(c)
        if missing is None:
            return None
        start, end = missing[0], min(missing[0] + self.completed, missing[1])
        return start, end, self.token_rows(c, start, end)

    def token_rows(self, c: Cursor, start: int, end: int) -> list[TokenRow]:
        """Return the rows that the index should have of these leaves.

        The log has a `jti` itself; its digest is under the key of when it was written.
        """
        topics = (*token_rows.TOPICS, AccessRecorded.TOPIC)
        asked = ",".join("?" * len(topics))
        number = self._sql.number
        c.execute(
            f"SELECT {self._sql.leaf} FROM stored_events e"  # noqa: S608 - constants and question marks
            f" WHERE e.{number} > ? AND e.{number} <= ? AND e.topic IN ({asked})"
            f" ORDER BY e.{number}",
            (start, end, *topics),
        )
        leaves = c.fetchall()
        rows: list[TokenRow] = []
        jti = self._jti_marks(c, start, end)
        gone = Tombstones(c, number)
        sealed = parts_of(c, start, end)
        self._leaves.expect(c, sealed, gone)
        for row in leaves:
            parts = sealed.get(int(row[0]) - 1, ())
            event = self._leaves.decode(
                c, row, gone=gone, parts=parts, opened=token_rows.ASKED
            )
            if isinstance(event, GrantEvent):
                rows += token_rows.rows_of_event(row[0] - 1, event, jti)
            elif isinstance(event, AccessRecorded):
                rows += token_rows.rows_of_entries(row[0] - 1, event.entries, jti)
        return rows

    def _jti_marks(self, c: Cursor, start: int, end: int) -> JtiMark:
        """Return what digests a `jti` as the index has it, else under today's key."""
        c.execute(
            "SELECT fingerprint FROM token_index"
            " WHERE kind = ? AND leaf_index >= ? AND leaf_index < ?",
            (JTI, start, end),
        )
        there = {str(row[0]) for row in c.fetchall()}

        def mark(jti: str) -> TokenFingerprint:
            today, *earlier = self._rows.fingerprints.jtis(jti)
            return next((one for one in earlier if one in there), today)

        return mark


def _kind(text: str) -> TokenKind:
    """Return what a row is about; what has a `jti` here is an access token."""
    return TokenKind.ACCESS if text == JTI else TokenKind(text)


def _missing(c: Cursor) -> tuple[int, int] | None:
    """Return the leaves from before there was an index that are not in it yet."""
    c.execute("SELECT next_index, end_index FROM token_index_missing")
    row = c.fetchone()
    return (int(row[0]), int(row[1])) if row and row[0] < row[1] else None
