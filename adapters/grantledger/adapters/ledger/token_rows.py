"""The rows of `token_index`: which token is whose, by its keyed fingerprint.

A JWT has a second row, for its `jti`: encoded anew, it has another fingerprint.
Written with the leaf that records a token, and no part of what is proven: with a row
that is missing, a token is not found, and nothing else is lost.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import NamedTuple

from eventsourcing.persistence import Cursor

from grantledger.adapters.keys.fingerprints import JTI
from grantledger.domain.event_base import GrantEvent
from grantledger.domain.grant_events import (
    Exchanged,
    LateAnswerKept,
    Provisioned,
    Rotated,
)
from grantledger.domain.journal import AccessEntry
from grantledger.domain.values import ERASED_TEXT, TokenFingerprint, TokenKind

OF_EVENT = -1
"""Stands for the entry where an event of a grant records the token."""

JtiMark = Callable[[str], TokenFingerprint]
"""Returns what a `jti` is found by."""

ASKED = frozenset({"fingerprint", "access_fingerprint", "jti"})
"""What is opened of an event of a grant: no token."""

TOPICS = (Provisioned.TOPIC, Rotated.TOPIC, Exchanged.TOPIC, LateAnswerKept.TOPIC)
"""Of the events of grants that record tokens."""

# What an older state of the log has left behind gives way: the log is the record.
_INSERT = "INSERT OR REPLACE INTO token_index VALUES (?,?,?,?,?,?)"
_INSERT_MISSING = (
    "INSERT INTO token_index SELECT ?,?,?,?,?,?"
    " WHERE NOT EXISTS (SELECT 1 FROM current_grants"
    " WHERE grant_id=? AND status='erased')"
    " AND (? < 0 OR EXISTS (SELECT 1 FROM journal_index WHERE leaf_index=?))"
    " ON CONFLICT DO NOTHING"
)


class TokenRow(NamedTuple):
    """One token, where it came into the record."""

    leaf_index: int
    entry: int
    kind: str
    fingerprint: str
    grant_id: str
    generation: int


def rows_of_event(index: int, event: GrantEvent, jti_mark: JtiMark) -> list[TokenRow]:
    """Return the rows of a grant's event, whose leaf has that index.

    Of an erased grant, whose tokens nobody can name, there are none.
    """
    marks: list[tuple[str, TokenFingerprint | None]] = []
    match event:
        case Provisioned() | Rotated():
            marks.append((TokenKind.REFRESH, event.fingerprint))
        case Exchanged():
            marks.append((TokenKind.ACCESS, event.fingerprint))
            if event.jti is not None:
                marks.append((JTI, jti_mark(event.jti)))
        case LateAnswerKept():
            marks.append((TokenKind.REFRESH, event.fingerprint))
            marks.append((TokenKind.ACCESS, event.access_fingerprint))
        case _:
            return []
    grant, generation = event.originator_id.hex, event.generation
    return [
        TokenRow(index, OF_EVENT, str(kind), mark, grant, generation)
        for kind, mark in marks
        if mark is not None and mark != ERASED_TEXT
    ]


def rows_of_entries(
    index: int, entries: Iterable[AccessEntry], jti_mark: JtiMark
) -> list[TokenRow]:
    """Return the rows of a journal event: tokens that no grant's event records.

    An intended exchange has the `jti` of the session token that it was asked with.
    """
    rows: list[TokenRow] = []
    for number, entry in enumerate(entries):
        private = entry.private
        if private is None or entry.grant_id is None:
            continue
        grant, generation = entry.grant_id.hex, entry.generation
        mark, jti = private.fingerprint, private.jti
        if mark is not None:
            kind = str(TokenKind.ACCESS)
            rows.append(TokenRow(index, number, kind, mark, grant, generation))
        if jti is not None:
            rows.append(TokenRow(index, number, JTI, jti_mark(jti), grant, generation))
    return rows


def write(c: Cursor, rows: Iterable[TokenRow]) -> None:
    """Store rows beside the leaves that they come with."""
    for row in rows:
        c.execute(_INSERT, tuple(row))


def mend(c: Cursor, start: int, end: int, rows: Iterable[TokenRow]) -> None:
    """Make these the rows of the leaves, unless they are to be forgotten."""
    c.execute(
        "DELETE FROM token_index WHERE leaf_index >= ? AND leaf_index < ?", (start, end)
    )
    write_missing(c, rows)


def write_missing(c: Cursor, rows: Iterable[TokenRow]) -> None:
    """Store rows of earlier leaves, unless they are there or are to be forgotten."""
    for row in rows:
        again = (row.grant_id, row.entry, row.leaf_index)
        c.execute(_INSERT_MISSING, (*row, *again))
