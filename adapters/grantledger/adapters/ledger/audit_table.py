"""The rows of `audit_rows` and `audit_terms`, as they are stored.

A row holds what stands in its leaf in the clear. What is personal and searched for is a
keyed digest beside it; it is made under the ring's subject key, which never changes, so
that the tables that are made anew are the same as before.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import cache, lru_cache
from typing import Any, NamedTuple

from grantledger.adapters.ledger.rows import micros
from grantledger.domain.audit import AuditPosition
from grantledger.projections.audit_folded import Folded, terms_of

COLUMNS = (
    "leaf_index",
    "entry",
    "recorded_at",
    "occurred_at",
    "grant_id",
    "stream",
    "stream_seq",
    "event",
    "outcome",
    "provider",
    "caller",
    "actor_kind",
    "generation",
    "request_id",
    "node",
    "policy",
    "reason",
    "audience",
    "scopes",
    "expires_at",
)
EVENT = COLUMNS.index("event")
GRANT = COLUMNS.index("grant_id")
NUMBERS = frozenset(
    {
        "leaf_index",
        "entry",
        "recorded_at",
        "occurred_at",
        "stream_seq",
        "generation",
        "expires_at",
    }
)
"""Columns that hold integers; the others hold text."""

Digest = Callable[[tuple[str, ...]], bytes]


class TermRow(NamedTuple):
    """One digest that a row is found by.

    Attributes:
        grant_id: whose key seals what it is made of, in hexadecimal; not stored.
    """

    leaf_index: int
    entry: int
    term: bytes
    grant_id: str | None


class AuditBatch(NamedTuple):
    """What a range of leaves puts into the tables."""

    start: int
    end: int
    rows: list[tuple[object, ...]]
    terms: list[TermRow]

    def parts(self, most: int) -> Iterator[AuditBatch]:
        """Yield it in parts of so many rows at most, or of one leaf."""
        start, row, term = self.start, 0, 0
        while start < self.end:
            end = self.end
            if row + most < len(self.rows):
                # A leaf that would not end within them is the next part's.
                end = max(start + 1, _leaf(self.rows[row + most]))
            rows = bisect_left(self.rows, end, row, key=_leaf)
            terms = bisect_left(self.terms, end, term, key=_leaf)
            yield AuditBatch(start, end, self.rows[row:rows], self.terms[term:terms])
            start, row, term = end, rows, terms


def _leaf(row: Sequence[Any]) -> int:
    return int(row[0])


def columns_of(folded: Folded) -> tuple[object, ...]:
    """Return a row's columns, in the order of `COLUMNS`."""
    row = folded.row
    return (
        row.at.leaf_index,
        row.at.entry,
        micros(row.recorded_at),
        micros(row.occurred_at),
        None if row.grant_id is None else _hex(row.grant_id.int),
        _hex(row.stream.int),
        row.stream_seq,
        row.event,
        str(row.outcome),
        _text(row.provider),
        _text(row.caller),
        None if folded.clear_kind is None else str(folded.clear_kind),
        row.generation,
        _text(row.request_id),
        _text(row.node),
        _text(row.policy),
        _text(row.reason),
        _text(row.audience),
        _text(" ".join(folded.clear_scopes)),
        None if row.expires_at is None else micros(row.expires_at),
    )


class Making:
    """Collects what folded rows put into the tables; they themselves are not kept."""

    def __init__(self, digest: Digest) -> None:
        # Who acts acts often.
        self._digest = cache(digest)
        self.rows: list[tuple[object, ...]] = []
        self.terms: list[TermRow] = []

    def add(self, folded: Iterable[Folded]) -> None:
        """Take the rows of a leaf."""
        digest = self._digest
        for one in folded:
            self.rows.append(columns_of(one))
            at = one.row.at
            owner = None if one.owner is None else _hex(one.owner.int)
            # No two things that are said have one digest.
            self.terms += [TermRow(*at, digest(said), owner) for said in terms_of(one)]


def position_of(columns: Sequence[Any]) -> AuditPosition:
    """Return where the row stands whose columns these are."""
    return AuditPosition(int(columns[0]), int(columns[1]))


@lru_cache(maxsize=1_024)
def _hex(number: int) -> str:
    """Return an identifier's digits; those of a batch are few."""
    return f"{number:032x}"


def _text(value: str | None) -> str | None:
    # PostgreSQL's text holds no NUL; no name has one, and a leaf may say anything.
    return value if value is None else value.replace("\0", "\N{REPLACEMENT CHARACTER}")
