"""What a page's address asks for, read strictly: filters, times, places in the log."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from typing import TypeVar
from urllib.parse import urlencode
from uuid import UUID

from grantledger.domain.audit import AuditFilter, AuditOutcome, AuditPosition
from grantledger.domain.errors import InvalidRequest
from grantledger.domain.fleet import GrantFilter
from grantledger.domain.values import GrantStatus, TokenFingerprint

T = TypeVar("T")
E = TypeVar("E", bound=StrEnum)
FIRST_YEAR, LAST_YEAR = 1970, 9000
CLOCKS_APART = timedelta(minutes=1)
# Fifteen digits are below 2**53: every store and every script counts so far.
_INDEX = re.compile(r"[0-9]{1,15}")
_PLACE = re.compile(r"([0-9]{1,15})\.(-1|[0-9]{1,9})")


def said(query: Mapping[str, str], name: str) -> str | None:
    """Return what a field says, None where it is empty: forms send empty fields."""
    return query.get(name, "").strip() or None


def one_of(kind: type[E], value: str | None, field: str) -> E | None:
    """Return the member of an enumeration.

    Raises:
        InvalidRequest: it has no such member.
    """
    if value is None:
        return None
    try:
        return kind(value)
    except ValueError:
        known = ", ".join(kind)
        raise InvalidRequest(f"{field} is one of {known}", field) from None


def uuid_of(value: str | None, field: str) -> UUID | None:
    """Return the id that a text says.

    Raises:
        InvalidRequest: it is none.
    """
    return _read(UUID, value, field, "an id of 32 hexadecimal digits")


def time_of(value: str | None, field: str) -> datetime | None:
    """Return the time that a text says; one without a zone is UTC.

    Raises:
        InvalidRequest: it is none, or of no year that times are counted with.
    """
    found = _read(datetime.fromisoformat, value, field, "a time, 2026-03-01T12:00:00Z")
    if found is None:
        return None
    if not FIRST_YEAR <= found.year <= LAST_YEAR:
        years = f"{FIRST_YEAR} to {LAST_YEAR}"
        raise InvalidRequest(f"{field} is a time of the years {years}", field)
    return found.replace(tzinfo=UTC) if found.utcoffset() is None else found


def past_of(value: str | None, field: str, now: datetime) -> datetime | None:
    """Return the time that a text says, which is not to come.

    Raises:
        InvalidRequest: it is none, or later than a minute from now.
    """
    found = time_of(value, field)
    if found is not None and found > now + CLOCKS_APART:
        raise InvalidRequest(f"{field} is still to come", field)
    return found


def index_of(value: str | None, field: str) -> int | None:
    """Return the leaf's index that a text says.

    Raises:
        InvalidRequest: it is none.
    """
    return _number(value, field, "a leaf's index, from 0 on")


def number_of(value: str | None, field: str) -> int | None:
    """Return the whole number that a text says.

    Raises:
        InvalidRequest: it is none.
    """
    return _number(value, field, "a whole number of up to 15 digits")


def _number(value: str | None, field: str, words: str) -> int | None:
    if value is None:
        return None
    if _INDEX.fullmatch(value) is None:
        raise InvalidRequest(f"{field} is {words}", field)
    return int(value)


def position_of(value: str | None) -> AuditPosition | None:
    """Return the place in the audit trail that a text says, such as `17.0`.

    Raises:
        InvalidRequest: it is none.
    """
    if value is None:
        return None
    found = _PLACE.fullmatch(value)
    if found is None:
        raise InvalidRequest("after is a leaf and an entry, 17.0", "after")
    return AuditPosition(int(found[1]), int(found[2]))


def grants_asked(query: Mapping[str, str]) -> GrantFilter:
    """Return which grants an address asks for.

    Raises:
        InvalidRequest: names the field.
    """
    return GrantFilter(
        provider=said(query, "provider"),
        status=one_of(GrantStatus, said(query, "status"), "status"),
        label=said(query, "label"),
        subject=said(query, "subject"),
        client_id=said(query, "client_id"),
        scope=said(query, "scope"),
    )


def rows_asked(query: Mapping[str, str]) -> AuditFilter:
    """Return which rows of the audit trail an address asks for.

    Raises:
        InvalidRequest: names the field.
    """
    mark = said(query, "fingerprint")
    return AuditFilter(
        recorded_from=time_of(said(query, "from"), "from"),
        recorded_until=time_of(said(query, "until"), "until"),
        grant_id=uuid_of(said(query, "grant"), "grant"),
        provider=said(query, "provider"),
        subject=said(query, "subject"),
        caller=said(query, "caller"),
        actor=said(query, "actor"),
        event=said(query, "event"),
        outcome=one_of(AuditOutcome, said(query, "outcome"), "outcome"),
        fingerprint=None if mark is None else TokenFingerprint(mark),
        scope=said(query, "scope"),
        address=said(query, "address"),
        request_id=said(query, "request_id"),
        below=index_of(said(query, "below"), "below"),
    )


def with_fields(query: Mapping[str, str], **changed: object) -> str:
    """Return the query of another page of the same question."""
    kept = {name: value for name, value in query.items() if value.strip()}
    for name, value in changed.items():
        kept.pop(name, None)
        if value is not None:
            kept[name] = str(value)
    return urlencode(kept)


def _read(
    reads: Callable[[str], T], value: str | None, field: str, what: str
) -> T | None:
    if value is None:
        return None
    try:
        return reads(value)
    except ValueError:
        raise InvalidRequest(f"{field} is {what}", field) from None
