"""The append function's arguments, collected column by column, and its answers.

Events are written by nothing but that function; a role that may execute it needs no
other right to write.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any, NamedTuple

from eventsourcing.persistence import ProgrammingError, StoredEvent

from grantledger.adapters.keys.envelope import DataKey
from grantledger.adapters.ledger.data_keys import WrappedKey
from grantledger.adapters.ledger.postgres.arrays import packed
from grantledger.adapters.ledger.recorders import SealedStoredEvent
from grantledger.adapters.ledger.token_rows import TokenRow
from grantledger.domain.errors import IntegrityError
from grantledger.projections.transparency import MAX_LEAF_BYTES

Row = tuple[object, ...]

# The columns of each group of arrays, in the order of the function's parameters.
_LEAVES = ("uuid", "bigint", "text", "bytea")
_PARTS = ("bigint", "bigint", "text", "text", "text", "bytea")
_KEYS = ("text", "text", "text", "bytea")
_ROWS = (
    "text",
    "bigint",
    "bigint",
    "text",
    "bytea",
    "text",
    "bigint",
    "bigint",
    "bigint",
    "bytea",
    "bytea",
)
_JOURNAL = ("bigint", "bigint", "bytea")
_SCHEDULE = (
    "text",
    "bigint",
    "text",
    "bigint",
    "bigint",
    "bigint",
    "bigint",
    "bigint",
)
_TOKENS = ("bigint", "bigint", "text", "text", "text", "bigint")
_GROUPS = (_LEAVES, _PARTS, _KEYS, _ROWS, _JOURNAL)
LOCK = "SELECT head_size, locked_at FROM ledger_lock()"
# A statement of its own: it sees what was committed during the wait for the lock.
LEAVES = (
    "SELECT notification_id, leaf_hash FROM stored_events"
    " WHERE notification_id IN ({seen}, (SELECT next_index FROM log_head))"
)
_ARRAYS = ", ".join(f"%b::{kind}[]" for group in _GROUPS for kind in group)
_SCHEDULED = ", ".join(f"%b::{kind}[]" for kind in _SCHEDULE)
_INDEXED = ", ".join(f"%b::{kind}[]" for kind in _TOKENS)
SCHEDULE = f"SELECT ledger_schedule({_SCHEDULED})".encode()
# A log of the size known whose last leaf is another is not the log known: no size that
# a log can have is then what the function is told.
_SIZE = (
    "CASE WHEN %b::bytea IS NULL OR EXISTS (SELECT FROM stored_events"
    " WHERE notification_id = %s AND leaf_hash = %b) THEN %s::bigint ELSE -1 END"
)
_APPEND = (
    "SELECT verdict, head_size, appended_at"  # noqa: S608 - constants only
    f" FROM ledger_append({_SIZE}, %s::timestamptz, {_ARRAYS})"
)
APPEND = _APPEND.encode()
MEND_TOKENS = f"SELECT ledger_mend_tokens(%s, %s, {_INDEXED})"
COMPLETE_TOKENS = f"SELECT ledger_complete_tokens(%s, %s, {_INDEXED})".encode()


def _with(*calls: str) -> bytes:
    """Return the append with calls of other functions.

    One statement, so that all is written or nothing; what was not appended is not
    scheduled or indexed. A function in FROM is run before what is selected from it.
    """
    beside = ", ".join(f"CASE WHEN verdict = 'appended' THEN {c} END" for c in calls)
    return (
        f"SELECT verdict, head_size, appended_at, {beside}"  # noqa: S608 - constants only
        f" FROM ({_APPEND} OFFSET 0) a"
    ).encode()


_SCHEDULING = f"ledger_schedule({_SCHEDULED})"
_INDEXING = f"ledger_index_tokens({_INDEXED})"
APPENDS = {
    (False, False): APPEND,
    (True, False): _with(_SCHEDULING),
    (False, True): _with(_INDEXING),
    (True, True): _with(_SCHEDULING, _INDEXING),
}
"""By whether grants are scheduled, and whether tokens are indexed."""


class Appended(NamedTuple):
    """What the append function says.

    Attributes:
        verdict: `appended`, or with nothing written `moved` (somebody else has
            written) or `skewed` (the leaves' time is not the server's).
        size: how many leaves the log has now.
        at: the server's time, read under the lock.
    """

    verdict: str
    size: int
    at: datetime


class Locked(NamedTuple):
    """What is there under the lock: how many leaves, and the server's time.

    Attributes:
        leaves: hashes of the last leaf and of that at an earlier size, by size.
    """

    size: int
    at: datetime
    leaves: dict[int, bytes]


class Columns:
    """What one call of the append function writes.

    Args:
        size: how many leaves the log has, as far as the caller knows.
        leaf: hash of the last of them, None for an empty log.
    """

    def __init__(self, size: int, leaf: bytes | None) -> None:
        self._start = size
        self._leaf = leaf
        self._leaves: list[Row] = []
        self._parts: list[Row] = []
        self._fresh: list[Row] = []
        # By grant: of two versions in one batch the later row is the one to keep.
        self._rows: dict[object, Row] = {}
        self._journal: list[Row] = []
        self._scheduled: dict[object, Row] = {}
        self._tokens: list[TokenRow] = []

    @property
    def size(self) -> int:
        """How many leaves the log has, those of this run included."""
        return self._start + len(self._leaves)

    @property
    def writes(self) -> bool:
        """Whether there is anything to write."""
        return bool(self._leaves)

    def fresh(self, key: DataKey, wrapped: WrappedKey) -> None:
        """Write a fresh data key."""
        self._fresh.append(
            (key.dek_id, key.grant_id.hex, wrapped.kek_id, wrapped.wrapped)
        )

    def insert(self, stored: Sequence[StoredEvent]) -> int:
        """Write events at the head, sealed parts beside them.

        Raises:
            ProgrammingError: one is over a leaf's limit.
        """
        first = self.size
        for event in stored:
            if len(event.state) > MAX_LEAF_BYTES:
                raise ProgrammingError(
                    f"a leaf has {len(event.state)} bytes; "
                    f"the limit is {MAX_LEAF_BYTES}"
                )
            if isinstance(event, SealedStoredEvent):
                self._parts += [
                    (
                        self.size,
                        -1 if p.entry is None else p.entry,
                        p.field,
                        p.grant_id.hex,
                        p.dek_id,
                        p.ct,
                    )
                    for p in event.sealed
                ]
            self._leaves.append(
                (
                    event.originator_id,
                    event.originator_version,
                    event.topic,
                    event.state,
                )
            )
        return first

    def row(self, columns: Row, schedule: Row) -> None:
        """Write a grant's row, and when it is looked after."""
        self._rows[columns[0]] = columns
        self._scheduled[columns[0]] = schedule

    def journal(self, index: int, live_until: int, grants: bytes) -> None:
        """Write which grants a journal event speaks of."""
        self._journal.append((index, live_until, grants))

    def tokens(self, rows: Sequence[TokenRow]) -> None:
        """Write which token is whose."""
        self._tokens += rows

    def call(self, recorded_at: datetime | None) -> tuple[bytes, list[object]]:
        """Return the statement that writes all of it, and its values."""
        scheduled, tokens = list(self._scheduled.values()), self._tokens
        beside: list[object] = []
        if scheduled:
            given = zip(*scheduled, strict=True)
            beside += [packed(k, v) for k, v in zip(_SCHEDULE, given, strict=True)]
        if tokens:
            beside += token_columns(tokens)
        statement = APPENDS[bool(scheduled), bool(tokens)]
        return statement, [*beside, *self.arguments(recorded_at)]

    def arguments(self, recorded_at: datetime | None) -> list[object]:
        """Return the values of `APPEND`."""
        columns: list[object] = []
        groups = (
            self._leaves,
            self._parts,
            self._fresh,
            list(self._rows.values()),
            self._journal,
        )
        for rows, kinds in zip(groups, _GROUPS, strict=True):
            given = zip(*rows, strict=True) if rows else ((),) * len(kinds)
            columns += [
                packed(k, column) for k, column in zip(kinds, given, strict=True)
            ]
        start, leaf = self._start, self._leaf
        return [leaf, start, leaf, start, recorded_at, *columns]


def token_columns(rows: Sequence[TokenRow]) -> list[object]:
    """Return rows of the index of tokens as the functions take them."""
    columns = zip(*rows, strict=True) if rows else ((),) * len(_TOKENS)
    return [packed(k, column) for k, column in zip(_TOKENS, columns, strict=True)]


def only_row(row: tuple[Any, ...] | None) -> tuple[Any, ...]:
    """Return the row that a function's call gives."""
    if row is None:
        raise IntegrityError("the ledger's function returned nothing")
    return row
