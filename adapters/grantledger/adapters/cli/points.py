"""Points of the log as arguments say them: a time, a leaf, or now."""

from __future__ import annotations

import re

from grantledger.adapters.cli.times import time_of
from grantledger.adapters.ledger.stored_ledger import StoredLedger
from grantledger.domain.errors import InvalidRequest

NOW = "now"
_LEAF = re.compile(r"[0-9]{1,18}")


async def size_of(ledger: StoredLedger, text: str, field: str) -> int:
    """Return how many leaves the log had at a point.

    Args:
        ledger: whose log.
        text: RFC 3339, the index of the newest leaf then, or `now`.
        field: its name in errors.

    Raises:
        InvalidRequest: it is none of these, or there is no such leaf.
    """
    if text == NOW:
        return await ledger.size()
    if _LEAF.fullmatch(text):
        return await ledger.size(int(text) + 1)
    at = time_of(text, field)
    if at is None:  # pragma: no cover - a text is some time, or was refused
        raise InvalidRequest(f"{field} is missing", field)
    return await ledger.size_at(at)
