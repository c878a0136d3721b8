"""The audit log in the shape that applications of the earlier broker read."""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import datetime

from grantledger.domain.event_base import GrantEvent
from grantledger.domain.grant_events import (
    Exchanged,
    Provisioned,
    RedemptionFailed,
    RedemptionIntended,
    Rotated,
)
from grantledger.domain.journal import AccessRecorded
from grantledger.domain.user_grant import UserGrant

AUTH_METHOD = "oauth"
REFRESH_TOKEN = "refresh_token"  # noqa: S105 - a kind's name
ACCESS_TOKEN = "access_token"  # noqa: S105 - a kind's name
GRANT = "grant"

_OF_REFRESH_TOKENS = (Provisioned, Rotated, RedemptionIntended, RedemptionFailed)
_WORD = re.compile(r"(?<!^)(?=[A-Z])")


def lines(
    grant: UserGrant, event: GrantEvent | AccessRecorded
) -> Iterator[tuple[float, dict[str, object]]]:
    """Return (Unix time, line) of an event; one line a hand-out or denial."""
    if isinstance(event, AccessRecorded):
        for entry in event.entries:
            if entry.grant_id == grant.id:
                read = entry.reason == REFRESH_TOKEN
                resource = REFRESH_TOKEN if read else ACCESS_TOKEN
                yield _line(grant, event.node, entry.at, entry.outcome, resource)
        return
    resource = GRANT
    if isinstance(event, _OF_REFRESH_TOKENS):
        resource = REFRESH_TOKEN
    elif isinstance(event, Exchanged):
        resource = ACCESS_TOKEN
    name = _WORD.sub("_", type(event).__name__).lower()
    yield _line(grant, event.node, event.timestamp, name, resource)


def _line(
    grant: UserGrant, node: str, at: datetime, event: str, resource: str
) -> tuple[float, dict[str, object]]:
    return at.timestamp(), {
        "timestamp": int(at.timestamp()),
        "event": str(event),
        "user_id": grant.state.subject,
        "resource": resource,
        "auth_method": AUTH_METHOD,
        "hostname": node,
    }
