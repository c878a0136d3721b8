"""One way to write the audit trail in any of its formats, in bounded memory."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from enum import StrEnum
from typing import Protocol

from grantledger.domain.audit import AuditRow
from grantledger.projections.exports.csv_table import csv_rows, header
from grantledger.projections.exports.ocsf import ocsf_event
from grantledger.projections.exports.otel import otel_record, otlp_line
from grantledger.projections.exports.parquet import ParquetTable
from grantledger.projections.exports.rows import json_line, row_line


class ExportFormat(StrEnum):
    """In which form rows leave."""

    NDJSON = "ndjson"
    CSV = "csv"
    PARQUET = "parquet"
    OCSF = "ocsf"
    OTEL = "otel"


MEDIA_TYPES: Mapping[ExportFormat, str] = {
    ExportFormat.NDJSON: "application/x-ndjson",
    ExportFormat.CSV: "text/csv; charset=utf-8; header=present",
    ExportFormat.PARQUET: "application/vnd.apache.parquet",
    ExportFormat.OCSF: "application/x-ndjson; profile=ocsf",
    ExportFormat.OTEL: "application/x-ndjson; profile=otlp",
}


class Writing(Protocol):
    """Writes a file: `begin`, `rows` any number of times, `end`."""

    def begin(self) -> bytes:
        """Return how the file begins."""
        ...

    def rows(self, rows: Sequence[AuditRow]) -> bytes:
        """Return what is written of more rows."""
        ...

    def end(self) -> bytes:
        """Return how the file ends."""
        ...


class _Lines:
    """One line a row."""

    def __init__(self, line: Callable[[AuditRow], bytes]) -> None:
        self._line = line

    def begin(self) -> bytes:
        return b""

    def rows(self, rows: Sequence[AuditRow]) -> bytes:
        return b"".join(map(self._line, rows))

    def end(self) -> bytes:
        return b""


class _Csv:
    """A header, and one record a row."""

    def begin(self) -> bytes:
        return header()

    def rows(self, rows: Sequence[AuditRow]) -> bytes:
        return csv_rows(rows)

    def end(self) -> bytes:
        return b""


def ocsf_line(row: AuditRow) -> bytes:
    """Return a row as a line of OCSF events."""
    return json_line(ocsf_event(row))


def otel_line(row: AuditRow) -> bytes:
    """Return a row as a line of OTLP/JSON."""
    return otlp_line(otel_record(row))


LINES: Mapping[ExportFormat, Callable[[AuditRow], bytes]] = {
    ExportFormat.NDJSON: row_line,
    ExportFormat.OCSF: ocsf_line,
    ExportFormat.OTEL: otel_line,
}
"""The formats that can be followed: each row is whole by itself."""


def writing(form: ExportFormat) -> Writing:
    """Return what writes a format.

    Raises:
        InvalidRequest: it needs an extra that is not installed.
    """
    if form is ExportFormat.CSV:
        return _Csv()
    if form is ExportFormat.PARQUET:
        return ParquetTable()
    return _Lines(LINES[form])
