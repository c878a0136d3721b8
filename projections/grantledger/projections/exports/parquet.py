"""The audit trail as Apache Parquet; needs the extra `grantledger[parquet]`.

A group of rows is written when there are enough, and leaves the memory then.
"""

from __future__ import annotations

import io
from collections.abc import Sequence
from importlib import import_module
from typing import Any

from grantledger.domain.audit import AuditRow
from grantledger.domain.errors import InvalidRequest
from grantledger.projections.exports.columns import COLUMNS, ColumnType

GROUP = 10_000
"""Rows of a group; so many are in memory at most."""


class ParquetTable:
    """Writes rows; what it returns is the file, piece by piece."""

    def __init__(self) -> None:
        try:
            # Here, since the extra need not be installed.
            pa: Any = import_module("pyarrow")
            pq: Any = import_module("pyarrow.parquet")
        except ImportError:
            raise InvalidRequest(
                "parquet needs the extra: pip install 'grantledger[parquet]'", "format"
            ) from None
        types = {
            ColumnType.TEXT: pa.string(),
            ColumnType.INTEGER: pa.int64(),
            ColumnType.TIME: pa.timestamp("us", tz="UTC"),
            ColumnType.TEXTS: pa.list_(pa.string()),
        }
        self._arrow = pa
        self._schema = pa.schema([(c.name, types[c.type]) for c in COLUMNS])
        self._sink = _Sink()
        self._writer = pq.ParquetWriter(self._sink, self._schema, compression="zstd")
        self._waiting: list[AuditRow] = []

    def begin(self) -> bytes:
        """Return how the file begins."""
        return self._sink.taken()

    def rows(self, rows: Sequence[AuditRow]) -> bytes:
        """Return what is written of these rows, and of those before, by now."""
        self._waiting += rows
        if len(self._waiting) >= GROUP:
            self._write()
        return self._sink.taken()

    def end(self) -> bytes:
        """Return the rest of the file."""
        self._write()
        self._writer.close()
        return self._sink.taken()

    def _write(self) -> None:
        if self._waiting:
            cells = [[c.of(row) for row in self._waiting] for c in COLUMNS]
            columns = [
                self._arrow.array(cell, field.type)
                for cell, field in zip(cells, self._schema, strict=True)
            ]
            batch = self._arrow.RecordBatch.from_arrays(columns, schema=self._schema)
            self._writer.write_batch(batch)
            self._waiting = []


class _Sink(io.RawIOBase):
    """Takes what is written, and gives it away."""

    def __init__(self) -> None:
        super().__init__()
        self._parts: list[bytes] = []
        self._at = 0

    def writable(self) -> bool:
        return True

    def write(self, data: Any) -> int:  # noqa: ANN401 - whatever has bytes
        part = bytes(memoryview(data))
        self._parts.append(part)
        self._at += len(part)
        return len(part)

    def tell(self) -> int:
        return self._at

    def taken(self) -> bytes:
        said = b"".join(self._parts)
        self._parts = []
        return said
