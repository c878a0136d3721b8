"""Rows of the audit trail, as pages show them."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from grantledger.domain.audit import AuditMark, AuditOutcome, AuditRow
from grantledger.domain.values import TokenKind

SHORT = 8
_TONES = {
    AuditOutcome.SUCCESS: "",
    AuditOutcome.DENIED: "warn",
    AuditOutcome.FAILED: "bad",
    AuditOutcome.UNKNOWN: "warn",
}


@dataclass(frozen=True, slots=True)
class ShownRow:
    """A row, and what a page makes of it.

    Attributes:
        who: who did it, in a few words.
        tone: the class of its outcome; empty where all went well.
        token: the token's short name, None where it is about none.
    """

    row: AuditRow
    who: str
    tone: str
    token: str | None

    @property
    def place(self) -> str:
        """Where its leaf is looked at."""
        return f"{self.row.at.leaf_index}.{self.row.at.entry}"


def shown_rows(rows: Iterable[AuditRow]) -> list[ShownRow]:
    """Return rows for a page."""
    return [shown(row) for row in rows]


def shown(row: AuditRow) -> ShownRow:
    """Return one row for a page."""
    who = row.caller or (row.actor.id if row.actor else "") or row.node
    return ShownRow(
        row, who, _TONES[row.outcome], None if row.mark is None else short(row.mark)
    )


def short(mark: AuditMark) -> str:
    """Return the kind's letter and the first digits of a fingerprint."""
    letter = "R" if mark.kind is TokenKind.REFRESH else "A"
    return f"{letter}:{mark.fingerprint.rpartition(':')[2][:SHORT]}"
