"""The append function's arrays, in PostgreSQL's binary form.

A column of one kind is packed in one go. psycopg's own way looks at each element's
type, and sends an empty list as another type than a full one, so that the server has
a prepared statement for each mixture; with these it has one.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Sequence
from typing import Any
from uuid import UUID

import psycopg
from psycopg.adapt import Dumper
from psycopg.pq import Format

_HEAD = struct.Struct("!iii")  # dimensions, whether there are nulls, type of an element
_DIMENSION = struct.Struct("!ii")  # how many elements, the first one's index
_LENGTH = struct.Struct("!i")
_BIGINT = struct.Struct("!iq")
_NULL = _LENGTH.pack(-1)


class PackedArray:
    """An array as it is sent; the statement casts it to its type."""

    __slots__ = ("data",)

    def __init__(self, data: bytes) -> None:
        self.data = data


class _PackedArrayDumper(Dumper):
    format = Format.BINARY
    oid = 0  # as the cast says

    def dump(self, obj: PackedArray) -> bytes:
        """Return what is sent."""
        return obj.data


psycopg.adapters.register_dumper(PackedArray, _PackedArrayDumper)


def _bigints(values: Sequence[int | None]) -> list[bytes]:
    bigint = _BIGINT.pack
    return [_NULL if v is None else bigint(8, v) for v in values]


def _byteas(values: Sequence[bytes | None]) -> list[bytes]:
    # Not a call for each: thousands are packed in a second.
    length = _LENGTH.pack
    return [_NULL if v is None else length(len(v)) + v for v in values]


def _texts(values: Sequence[str | None]) -> list[bytes]:
    known = [None if v is None else v.encode() for v in values]
    if b"\0" in b"".join(filter(None, known)):
        raise psycopg.DataError("PostgreSQL's text holds no NUL character")
    return _byteas(known)


def _uuids(values: Sequence[UUID | str | None]) -> list[bytes]:
    return _byteas([_bytes_of(v) for v in values])


def _bytes_of(value: UUID | str | None) -> bytes | None:
    if value is None:
        return None
    return (value if isinstance(value, UUID) else UUID(value)).bytes


# Each kind's type in the catalog, and how elements are packed.
_KINDS: dict[str, tuple[int, Callable[[Any], list[bytes]]]] = {
    "bigint": (20, _bigints),
    "bytea": (17, _byteas),
    "text": (25, _texts),
    "uuid": (2950, _uuids),
}
_EMPTY = {kind: PackedArray(_HEAD.pack(0, 0, oid)) for kind, (oid, _) in _KINDS.items()}


def packed(kind: str, values: Sequence[object]) -> PackedArray:
    """Return an array of that kind; None is a null.

    Raises:
        psycopg.DataError: a value is not of the kind.
        UnicodeError: a text is no Unicode.
    """
    if not values:
        return _EMPTY[kind]
    oid, pack = _KINDS[kind]
    try:
        elements = pack(values)
    except (struct.error, AttributeError, TypeError) as cause:
        raise psycopg.DataError(f"no array of {kind}: {cause}") from cause
    nulls = int(None in values)
    return PackedArray(
        b"".join(
            [_HEAD.pack(1, nulls, oid), _DIMENSION.pack(len(values), 1), *elements]
        )
    )
