"""Times as options say them."""

from __future__ import annotations

from datetime import UTC, datetime

from grantledger.domain.errors import InvalidRequest


def time_of(text: str | None, field: str) -> datetime | None:
    """Return a time as aware UTC, None for none.

    Args:
        text: RFC 3339.
        field: its name in errors.

    Raises:
        InvalidRequest: it is no time, or names no zone.
    """
    if text is None:
        return None
    try:
        at = datetime.fromisoformat(text)
    except ValueError:
        at = None
    if at is None or at.tzinfo is None:
        raise InvalidRequest(
            f"{field} {text[:40]!r} is no RFC 3339 time with a zone", field
        )
    return at.astimezone(UTC)
