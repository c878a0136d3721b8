"""What the log itself says is gone: grants that were erased, leaves that were pruned.

Anything else that is missing is an integrity finding. Asked within a transaction of
the caller's; answers are kept for as long as it lasts.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Protocol
from uuid import UUID

import msgspec
from eventsourcing.persistence import Cursor, StoredEvent

from grantledger.adapters.ledger.leaves import decoded, read_leaf
from grantledger.adapters.ledger.listing import marks, portions
from grantledger.domain.errors import IntegrityError
from grantledger.domain.grant_events import Erased
from grantledger.domain.journal import AccessRecorded
from grantledger.domain.ledger_events import LEDGER_STREAM, Pruned
from grantledger.projections.transparency import leaf_hash


class Gone(Protocol):
    """Tells what may be missing."""

    def erased(self, grant_id: UUID) -> bool:
        """Tell whether the grant's stream ends with Erased."""
        ...

    def pruned(self, stream: UUID, version: int) -> bool:
        """Tell whether a later Pruned event covers this journal event."""
        ...


class Nothing:
    """Says that nothing may be missing."""

    def erased(self, grant_id: UUID) -> bool:  # noqa: ARG002 - the protocol's
        """Tell that the grant is not erased."""
        return False

    def pruned(self, stream: UUID, version: int) -> bool:  # noqa: ARG002 - the protocol's
        """Tell that the event is not pruned."""
        return False


NOTHING = Nothing()


class _PrunedFields(msgspec.Struct):
    below: int
    leaves: int


_PRUNED_FIELDS = msgspec.json.Decoder(_PrunedFields)


class Covered:
    """Which leaves the stored Pruned events cover.

    Attributes:
        leaves: how many they say were there, all in all.
    """

    def __init__(self) -> None:
        self.leaves = 0
        self._events: list[tuple[int, int]] = []

    def add(self, index: int, event: StoredEvent) -> None:
        """Take note of a stored Pruned event.

        Raises:
            IntegrityError: its bytes do not say what its columns do.
        """
        leaf = read_leaf(event)
        said: _PrunedFields = decoded(_PRUNED_FIELDS, leaf.fields, leaf.event_id)
        self._events.append((index, said.below))
        self.leaves += said.leaves

    def __contains__(self, index: int) -> bool:
        """Tell whether the leaf with this index may be gone."""
        return any(index < min(at, below) for at, below in self._events)


class Tombstones:
    """Asks the store.

    Args:
        c: in a transaction.
        number: the column of `stored_events` with the leaf index plus one.
    """

    def __init__(self, c: Cursor, number: str) -> None:
        self._c = c
        self._number = number
        self._erased: dict[int, bool] = {}
        self._covered: Covered | None = None

    def erased(self, grant_id: UUID) -> bool:
        """Tell whether the grant's stream ends with Erased."""
        said = self._erased.get(grant_id.int)
        if said is None:
            said = self._erased[grant_id.int] = is_erased(self._c, grant_id)
        return said

    def there(self, grant_id: UUID) -> bool:
        """Tell whether the grant is known not to be erased.

        Of one whose last event does not prove itself it is not; who asks `erased` is
        told why.
        """
        try:
            return not self.erased(grant_id)
        except IntegrityError:
            return False

    def look(self, grants: Iterable[UUID], stream_of: str) -> None:
        """Ask for many grants at once whether their streams end with Erased.

        Args:
            grants: whose.
            stream_of: the SQL for a stream as `stored_events` has it, with a question
                mark for its hexadecimal text.
        """
        for some in portions([g for g in grants if g.int not in self._erased]):
            self._c.execute(
                f"WITH w (stream) AS (VALUES {marks(f'({stream_of})', some)})"  # noqa: S608 - constants and question marks
                " SELECT w.stream, (SELECT e.topic FROM stored_events e"
                " WHERE e.originator_id = w.stream"
                " ORDER BY e.originator_version DESC LIMIT 1) FROM w",
                tuple(grant_id.hex for grant_id in some),
            )
            for stream, topic in self._c.fetchall():
                # One that says so has to prove it, when it is asked for.
                if topic != Erased.TOPIC:
                    self._erased[UUID(str(stream)).int] = False

    def pruned(self, stream: UUID, version: int) -> bool:
        """Tell whether a later Pruned event covers this journal event."""
        self._c.execute(
            f"SELECT {self._number} - 1, topic FROM stored_events"  # noqa: S608 - constants only
            " WHERE originator_id=? AND originator_version=?",
            (stream.hex, version),
        )
        row = self._c.fetchone()
        if row is None or row[1] != AccessRecorded.TOPIC:
            return False
        if self._covered is None:
            self._covered = covered(self._c, self._number)
        return row[0] in self._covered


def is_erased(c: Cursor, grant_id: UUID) -> bool:
    """Tell whether the newest event of the grant's stream is Erased, and proven."""
    c.execute(
        "SELECT originator_version, topic, state, leaf_hash FROM stored_events"
        " WHERE originator_id=? ORDER BY originator_version DESC LIMIT 1",
        (grant_id.hex,),
    )
    row = c.fetchone()
    if row is None or row[1] != Erased.TOPIC:
        return False
    _proven(grant_id, row)
    return True


def covered(c: Cursor, number: str) -> Covered:
    """Return what the stored Pruned events cover."""
    c.execute(
        f"SELECT originator_version, topic, state, leaf_hash, {number} - 1"  # noqa: S608 - constants only
        " FROM stored_events WHERE originator_id=? AND topic=?"
        " ORDER BY originator_version",
        (LEDGER_STREAM.hex, Pruned.TOPIC),
    )
    found = Covered()
    for row in c.fetchall():
        found.add(row[4], _proven(LEDGER_STREAM, row))
    return found


def _proven(stream: UUID, row: tuple[int, str, bytes, bytes]) -> StoredEvent:
    """Return the event of a row whose bytes are as hashed and as its columns say."""
    event = StoredEvent(stream, row[0], row[1], bytes(row[2]))
    if leaf_hash(event.state) != row[3]:
        raise IntegrityError(f"event {row[0]} of {stream} differs from its hash")
    read_leaf(event)
    return event
