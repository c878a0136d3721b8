"""Values out of JSON that anybody may have written, each of the kind that is meant."""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Mapping
from typing import Any, cast
from uuid import UUID

from grantledger.projections.verify.findings import Refuted, shown
from grantledger.projections.verify.merkle import HASH_BYTES


def parsed(data: bytes, where: str) -> Any:  # noqa: ANN401 - whatever stands there
    """Return what UTF-8 JSON says; every name of an object once, numbers are numbers.

    Where readers would differ in what they take, nothing is taken.

    Raises:
        Refuted: it is none.
    """
    try:
        return json.loads(
            data.decode(), object_pairs_hook=_named, parse_constant=_no_number
        )
    except (ValueError, RecursionError):
        raise Refuted(where, "is no JSON, or names something twice") from None


def _named(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError
    return found


def _no_number(text: str) -> None:
    raise ValueError(text)


def mapping(value: object, where: str) -> Mapping[str, Any]:
    """Return a JSON object.

    Raises:
        Refuted: it is none.
    """
    if isinstance(value, dict):
        return cast("dict[str, Any]", value)
    raise Refuted(where, "is no JSON object")


def listed(value: object, where: str) -> list[object]:
    """Return a JSON list.

    Raises:
        Refuted: it is none.
    """
    if isinstance(value, list):
        return cast("list[object]", value)
    raise Refuted(where, "is no JSON list")


def index(value: object, where: str) -> int:
    """Return a position, 0 or more.

    Raises:
        Refuted: it is none.
    """
    if is_index(value):
        return cast("int", value)
    raise Refuted(where, f"{shown(value)} is no position")


def is_index(value: object) -> bool:
    """Tell whether it is a whole number of 0 or more."""
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0


def octets(value: object, where: str) -> bytes:
    """Return what base64 stands for.

    Raises:
        Refuted: it is none.
    """
    try:
        if isinstance(value, str):
            return base64.b64decode(value, validate=True)
    except (binascii.Error, ValueError):
        pass
    raise Refuted(where, "something there is no base64")


def hashed(value: object, where: str) -> bytes:
    """Return 32 bytes out of base64.

    Raises:
        Refuted: they are none.
    """
    found = octets(value, where)
    if len(found) != HASH_BYTES:
        raise Refuted(where, f"a hash has {len(found)} bytes, not {HASH_BYTES}")
    return found


def hexadecimal(value: object) -> str:
    """Return an id in hexadecimal, whichever way it is written; else what it is."""
    try:
        return UUID(value).hex if isinstance(value, str) else shown(value)
    except ValueError:
        return shown(value)
