"""Who is in the golden incident, and when what happened; what its questions ask of.

The story is told in `story`; every answer that a test expects stands on it.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from uuid import UUID

from grantledger.domain.requests import Caller
from grantledger.domain.values import ActorKind

PROVIDER = "cloud"
CLIENT_ID = "grantledger-prod"
SCOPES = ("calendar.read", "files.read", "offline_access", "openid", "profile")
DEFAULT = ("calendar.read", "openid")
NOTES = "https://notes.example.org/api"
USERS = tuple(f"user{number:02}" for number in range(14))
"""Users to whom nothing happens."""

REUSE = "the refresh token was already used"
TICKET = "SEC-4711"

MONDAY = datetime(2025, 3, 3, 8, tzinfo=UTC)


def at(day: int, hour: int, minute: int = 0, second: int = 0) -> datetime:
    """Return a moment of the story; Monday is day 0."""
    return MONDAY.replace(hour=hour, minute=minute, second=second) + timedelta(day)


OUTAGE = at(2, 3)
OUTAGE_OVER = at(2, 3, 45)
KEY_CHANGED = at(2, 0, 30)
CLOCK_BACK = at(2, 12)
CLOCK_BACK_SECONDS = 90
INSIDER = at(2, 22)
THEFT = at(3, 14, 2)
REUSED = at(3, 14, 21)
REVOKED = at(3, 14, 40)
CONFIRMED = at(3, 14, 50)
ERASED = at(4, 9)
END = at(4, 18)

ADDRESS, AGENT = "10.0.0.11", "calendar-sync/2.3"
THIEF_ADDRESS, THIEF_AGENT = "203.0.113.66", "curl/8.5.0"
MARA_ADDRESS = "10.0.9.9"

SYNC = Caller("calendar-sync", peer_ip=ADDRESS, user_agent=AGENT)
BACKUP = Caller("photo-backup", peer_ip="10.0.0.12", user_agent="photo-backup/1.0")
THIEF = Caller("calendar-sync", peer_ip=THIEF_ADDRESS, user_agent=THIEF_AGENT)
"""Whoever has the secret of calendar-sync."""

AGENT_CALLER = Caller(
    "mcp-gateway",
    kind=ActorKind.AGENT,
    peer_ip="10.0.0.31",
    user_agent="mcp-gateway/0.9",
)
PORTAL = Caller(
    "portal", kind=ActorKind.USER, peer_ip="10.0.0.5", user_agent="Firefox/136.0"
)
MARA = Caller(
    "admin:mara", kind=ActorKind.ADMIN, peer_ip=MARA_ADDRESS, user_agent="console"
)
ROLF = Caller("responder:rolf", kind=ActorKind.ADMIN, peer_ip="10.0.9.2")
INES = Caller("auditor:ines", kind=ActorKind.ADMIN, peer_ip="10.0.9.3")

SETTINGS = f"""\
policy_version = "2025-03"

[ledger]
backup_days = 30

[broker]
node = "node-a"

[providers.{PROVIDER}]
issuer = "https://cloud.example.org"
client_id = "{CLIENT_ID}"
client_secret_file = "{PROVIDER}.secret"
scopes = ["calendar.read", "files.read", "offline_access", "openid", "profile"]
base_scopes = ["openid"]
default_scopes = ["calendar.read", "openid"]
default_expires_in_seconds = 3600
cache_ttl_seconds = 3600.0
family_revocation = true
exchange_target = "resource"
resources = {{ "notes" = "{NOTES}" }}
unknown_outcome = {{ rule = "retry_once" }}

[[callers]]
id = "calendar-sync"
scopes = ["calendar.read", "openid"]

[[callers]]
id = "photo-backup"
scopes = ["calendar.read", "files.read", "openid"]

[[callers]]
id = "mcp-gateway"
scopes = ["calendar.read", "openid"]
audiences = ["notes"]

[[callers]]
id = "portal"
roles = ["operator"]

[[callers]]
id = "admin:mara"
roles = ["operator", "auditor"]

[[callers]]
id = "responder:rolf"
roles = ["responder"]

[[callers]]
id = "auditor:ines"
roles = ["auditor"]
"""

ASKING = """
[[callers]]
id = "*"
roles = ["auditor", "responder"]
"""
"""A rule for whoever asks afterwards."""


@dataclass
class Told:
    """What the tests have to know of the story beside the ledger.

    Attributes:
        grants: ids of the grants, by subject, or by `subject/label`.
        first_refresh: that alice's first consent brought.
        stolen_access: the access token of alice that was handed to the thief.
        stolen_refresh: her refresh token, which the thief redeemed.
        exchanged: what the agent got for her session.
        keys: ids of the fingerprint keys, the first one first.
    """

    grants: dict[str, UUID] = field(default_factory=dict[str, UUID])
    first_refresh: str = ""
    stolen_access: str = ""
    stolen_refresh: str = ""
    exchanged: str = ""
    keys: tuple[str, ...] = ()
