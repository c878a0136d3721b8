"""The audit trail as CSV (RFC 4180) that no spreadsheet takes for formulas.

Every cell is quoted. One that a program would run, since it begins with `=`, `+`, `-`,
`@`, a tab or a line's end, gets an apostrophe in front, as does one that has one
already: taking a leading apostrophe away gives the text back.
Source: OWASP, CSV Injection.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable
from datetime import datetime

from grantledger.domain.audit import AuditRow
from grantledger.projections.exports.columns import COLUMNS, Cell
from grantledger.projections.exports.rows import time_text

RUNS = frozenset("=+-@\t\r\n'\uff1d\uff0b\uff0d\uff20")
"""First characters that get an apostrophe; the wide forms, too, are taken for them."""


def header() -> bytes:
    """Return the first line."""
    return table([[column.name for column in COLUMNS]])


def csv_rows(rows: Iterable[AuditRow]) -> bytes:
    """Return lines, one a row; of several texts in a cell each is on its own line."""
    return table([column.of(row) for column in COLUMNS] for row in rows)


def table(lines: Iterable[Iterable[Cell]]) -> bytes:
    """Return lines of these cells."""
    said = io.StringIO()
    safely = ([_cell(value) for value in line] for line in lines)
    csv.writer(said, quoting=csv.QUOTE_ALL).writerows(safely)
    return said.getvalue().encode("utf-8", "backslashreplace")


def _cell(value: Cell) -> str:
    match value:
        case None:
            return ""
        case int():
            return str(value)
        case datetime():
            return time_text(value)
        case str():
            return safe(value)
        case _:
            return safe("\n".join(value))


def safe(text: str) -> str:
    """Return a text as a cell that is not run; control characters become U+FFFD."""
    shown = "".join(
        c if c.isprintable() or c in "\t\r\n" else "\N{REPLACEMENT CHARACTER}"
        for c in text
    )
    return f"'{shown}" if shown[:1] in RUNS and shown else shown
