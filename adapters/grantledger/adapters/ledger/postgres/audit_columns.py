"""The arguments of the function that stores rows of the audit trail."""

from __future__ import annotations

from grantledger.adapters.ledger.audit_table import COLUMNS, NUMBERS, AuditBatch
from grantledger.adapters.ledger.postgres.arrays import packed

_ROWS = tuple("bigint" if name in NUMBERS else "text" for name in COLUMNS)
_TERMS = ("bigint", "bigint", "bytea", "text")
_ARRAYS = ", ".join(f"%b::{kind}[]" for kind in (*_ROWS, *_TERMS))
EXTEND_AUDIT = f"SELECT ledger_audit_extend(%s, %s, %s, {_ARRAYS})".encode()
FILL_AUDIT = f"SELECT ledger_audit_fill(%s, %s, %s, {_ARRAYS})"


def audit_columns(batch: AuditBatch) -> list[object]:
    """Return rows and terms column by column, as the function takes them."""
    columns: list[object] = []
    for kinds, rows in ((_ROWS, batch.rows), (_TERMS, batch.terms)):
        given = zip(*rows, strict=True) if rows else ((),) * len(kinds)
        columns += [
            packed(kind, column) for kind, column in zip(kinds, given, strict=True)
        ]
    return columns
