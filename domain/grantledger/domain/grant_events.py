"""All events of a grant in one place, and the table that storage registers."""

from __future__ import annotations

from grantledger.domain.consent_events import (
    Erased,
    Provisioned,
    ReauthorizationRequired,
)
from grantledger.domain.event_base import (
    GrantEvent,
    HasState,
)
from grantledger.domain.redemption_events import (
    Exchanged,
    LateAnswerKept,
    RedemptionFailed,
    RedemptionIntended,
    Rotated,
)
from grantledger.domain.revocation_events import (
    AccessTokenEnded,
    Revoked,
    UpstreamRevocationAbandoned,
    UpstreamRevocationConfirmed,
    UpstreamRevocationFailed,
)

__all__ = [
    "GRANT_EVENTS",
    "AccessTokenEnded",
    "Erased",
    "Exchanged",
    "GrantEvent",
    "HasState",
    "LateAnswerKept",
    "Provisioned",
    "ReauthorizationRequired",
    "RedemptionFailed",
    "RedemptionIntended",
    "Revoked",
    "Rotated",
    "UpstreamRevocationAbandoned",
    "UpstreamRevocationConfirmed",
    "UpstreamRevocationFailed",
]

GRANT_EVENTS: tuple[type[GrantEvent], ...] = (
    Provisioned,
    RedemptionIntended,
    Rotated,
    Exchanged,
    RedemptionFailed,
    ReauthorizationRequired,
    Revoked,
    LateAnswerKept,
    UpstreamRevocationConfirmed,
    UpstreamRevocationFailed,
    UpstreamRevocationAbandoned,
    Erased,
    AccessTokenEnded,
)
