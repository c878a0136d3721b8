"""Which OCSF class and activity each event is; what is not named here is `OTHER`."""

from __future__ import annotations

from collections.abc import Mapping
from enum import IntEnum
from typing import NamedTuple

VERSION = "1.8.0"
FINDING, ENTITY, API = 2004, 3004, 6003
CATEGORIES: Mapping[int, int] = {FINDING: 2, ENTITY: 3, API: 6}


class Activity(IntEnum):
    """What is done; the same numbers in the classes that are used here."""

    CREATE = 1
    READ = 2
    UPDATE = 3
    DELETE = 4
    OTHER = 99


class Severity(IntEnum):
    """How much it matters."""

    INFORMATIONAL = 1
    LOW = 2
    MEDIUM = 3
    HIGH = 4


class Kind(NamedTuple):
    """A class, an activity, and what the API's operation is called."""

    class_uid: int
    activity: Activity
    operation: str = ""

    @property
    def type_uid(self) -> int:
        """The class and the activity in one number."""
        return self.class_uid * 100 + self.activity


REUSE = Kind(FINDING, Activity.CREATE)
OTHER = Kind(API, Activity.OTHER)
KINDS: Mapping[str, Kind] = {
    "Provisioned": Kind(ENTITY, Activity.CREATE),
    "RedemptionIntended": Kind(ENTITY, Activity.UPDATE),
    "Rotated": Kind(ENTITY, Activity.UPDATE),
    "Exchanged": Kind(API, Activity.CREATE, "token_exchange"),
    "RedemptionFailed": Kind(ENTITY, Activity.UPDATE),
    "ReauthorizationRequired": Kind(ENTITY, Activity.UPDATE),
    "LateAnswerKept": Kind(ENTITY, Activity.UPDATE),
    "AccessTokenEnded": Kind(ENTITY, Activity.UPDATE),
    "Revoked": Kind(ENTITY, Activity.DELETE),
    "UpstreamRevocationConfirmed": Kind(ENTITY, Activity.DELETE),
    "UpstreamRevocationFailed": Kind(ENTITY, Activity.DELETE),
    "UpstreamRevocationAbandoned": Kind(ENTITY, Activity.DELETE),
    "Erased": Kind(ENTITY, Activity.DELETE),
    "HandedOut": Kind(API, Activity.CREATE, "token_exchange"),
    "Denied": Kind(API, Activity.CREATE, "token_exchange"),
    "Withheld": Kind(API, Activity.CREATE, "token_exchange"),
    "DenialsSuppressed": Kind(API, Activity.CREATE, "token_exchange"),
    "ExchangeIntended": Kind(API, Activity.CREATE, "token_exchange"),
    "ExchangeFailed": Kind(API, Activity.CREATE, "token_exchange"),
    "GivenBack": Kind(API, Activity.DELETE, "token_revocation"),
    "AuditAccessed": Kind(API, Activity.READ, "audit"),
}
