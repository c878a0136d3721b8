"""What is copied of a ledger, table by table, and in which portions.

Nearly everything stands in a row that a leaf came with: a portion is a range of leaves
and those rows. What may change without a leaf is small and is compared as a whole at
the end.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, NamedTuple

from grantledger.adapters.ledger.recorders import EVENTS

Row = tuple[Any, ...]

LEAF_NUMBER = "rowid"
"""The column of a file's events that holds the leaf index plus one."""

MAX_LEAVES = 2000
MAX_BYTES = 8 * 1024 * 1024


class Table(NamedTuple):
    """A table that is copied with the leaves of a range.

    Attributes:
        name: in both stores.
        where: picks the rows of the leaves `:first` (inclusive) to `:end`.
    """

    name: str
    where: str


_LEAF_RANGE = "leaf_index >= :first AND leaf_index < :end"
_STREAMS = (
    f"(SELECT originator_id FROM {EVENTS}"  # noqa: S608 - constants only
    f" WHERE {LEAF_NUMBER} > :first AND {LEAF_NUMBER} <= :end"
)

WITH_LEAVES = (
    Table("sealed", _LEAF_RANGE),
    Table("journal_index", _LEAF_RANGE),
    Table("token_index", _LEAF_RANGE),
    Table("grant_states", _LEAF_RANGE),
    # A row goes with its newest leaf: changed later, it comes again with that one.
    Table("current_grants", f"{_LEAF_RANGE} AND grant_id IN {_STREAMS})"),
    # Made with a stream's first event.
    Table("data_keys", f"grant_id IN {_STREAMS} AND originator_version = 1)"),
)

AS_A_WHOLE = (
    "data_keys",
    "key_checks",
    "provider_clients",
    "once",
    "outbox",
    "outbox_heads",
    "checkpoints",
    "cosignatures",
)
"""Tables with rows that may change, or go, without a leaf; none has a NULL in it."""

BY_ITSELF = ("log_head", "meta", "token_index_missing")
"""Tables that the end of a copy writes."""

MADE_ANEW = (
    "claims",
    "upkeep",
    "log_nodes",
    "audit_position",
    "audit_rows",
    "audit_terms",
)
"""Tables that a broker fills by itself: who looks at which grant when, the roots of
tiles, and the rows of the audit trail."""


@dataclass(slots=True)
class Portion:
    """A range of leaves with everything that came with them.

    Attributes:
        first: index of the first leaf.
        events: of `stored_events`: number, stream as hexadecimal text, version, topic,
            state and leaf hash.
        rows: of every other table, by its name.
    """

    first: int
    events: list[Row]
    rows: dict[str, list[Row]] = field(default_factory=dict[str, list[Row]])

    @property
    def end(self) -> int:
        """The index after the last leaf."""
        return self.first + len(self.events)

    @property
    def streams(self) -> list[str]:
        """The streams that have a leaf here."""
        return list({row[1] for row in self.events})
