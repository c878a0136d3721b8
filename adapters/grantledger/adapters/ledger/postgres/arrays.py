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


def _bigint(value: int) -> bytes:
    return _BIGINT.pack(8, value)


def _bytea(value: bytes) -> bytes:
    return _LENGTH.pack(len(value)) + value


def _text(value: str) -> bytes:
    data = value.encode()
    if b"\0" in data:
        raise psycopg.DataError("PostgreSQL's text holds no NUL character")
    return _LENGTH.pack(len(data)) + data


def _uuid(value: UUID | str) -> bytes:
    known = value if isinstance(value, UUID) else UUID(value)
    return _LENGTH.pack(16) + known.bytes


# Each kind's type in the catalog, and how an element is packed.
_KINDS: dict[str, tuple[int, Callable[[Any], bytes]]] = {
    "bigint": (20, _bigint),
    "bytea": (17, _bytea),
    "text": (25, _text),
    "uuid": (2950, _uuid),
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
        elements = [_NULL if value is None else pack(value) for value in values]
    except (struct.error, AttributeError, TypeError) as cause:
        raise psycopg.DataError(f"no array of {kind}: {cause}") from cause
    nulls = int(None in values)
    return PackedArray(
        b"".join(
            [_HEAD.pack(1, nulls, oid), _DIMENSION.pack(len(values), 1), *elements]
        )
    )
