"""What evidence is asked for: about a grant, a token, a user, or a time.

An answer of chosen leaves proves that each is in the log, and not that no other one
speaks of the same. A contiguous range of the log proves that nothing between is left
out; `complete` asks for that.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from grantledger.domain.errors import InvalidRequest
from grantledger.domain.fleet import check_text, check_window
from grantledger.domain.values import (
    MAX_NAME_LENGTH,
    MAX_SUBJECT_LENGTH,
    Secret,
)


@dataclass(frozen=True, slots=True)
class EvidenceLimits:
    """How much a bundle may hold.

    Attributes:
        chosen: leaves that have a proof of their own each.
        ranged: leaves that are proven as one range.
        grants: of one user.
    """

    chosen: int = 5_000
    ranged: int = 100_000
    grants: int = 100


LIMITS = EvidenceLimits()


@dataclass(frozen=True, slots=True, kw_only=True)
class EvidenceAsked:
    """What a bundle is to prove: one of a grant, a token, a user, an erasure, a time.

    Attributes:
        grant_id: everything about this grant; likewise `erasure`, which is erased.
        token: the grant that this token is of; it never leaves this object.
        provider, subject: every grant of this user.
        recorded_from, recorded_until: what the log gained between these times, aware
            UTC; alone all of it, with one of the others what speaks of that.
        complete: the whole range of the log, so that nothing can be missing.

    Raises:
        InvalidRequest: names the field and what is wrong with it.
    """

    grant_id: UUID | None = None
    token: Secret | None = None
    provider: str | None = None
    subject: str | None = None
    erasure: UUID | None = None
    recorded_from: datetime | None = None
    recorded_until: datetime | None = None
    complete: bool = False

    def __post_init__(self) -> None:
        """Refuse what is out of bounds."""
        check_text("provider", self.provider, MAX_NAME_LENGTH)
        check_text("subject", self.subject, MAX_SUBJECT_LENGTH)
        check_window(
            "recorded_from", self.recorded_from, "recorded_until", self.recorded_until
        )
        if (self.provider is None) != (self.subject is None):
            raise InvalidRequest(
                "a subject is one of a provider's: say both", "subject"
            )
        said = (self.grant_id, self.token, self.subject, self.erasure)
        count = sum(one is not None for one in said)
        if count > 1:
            raise InvalidRequest(
                "say one of: a grant, a token, a subject, an erasure", "grant_id"
            )
        if not count and self.recorded_from is None:
            raise InvalidRequest(
                "say a grant, a token, a subject, an erasure, or from when on",
                "recorded_from",
            )
        if self.token is not None and not self.token.reveal():
            raise InvalidRequest("the token is empty", "token")

    @property
    def narrowed(self) -> bool:
        """Whether it asks for chosen leaves and not for all of a time."""
        return any(
            one is not None
            for one in (self.grant_id, self.token, self.subject, self.erasure)
        )

    @property
    def words(self) -> str:
        """What is asked, in words that name no token and no user."""
        if self.erasure is not None:
            what = f"the erasure of grant {self.erasure}"
        elif self.grant_id is not None:
            what = f"grant {self.grant_id}"
        elif self.token is not None:
            what = "the grant of a token"
        elif self.subject is not None:
            what = f"all grants of a user at {self.provider}"
        else:
            what = "everything"
        if self.recorded_from is not None:
            what += f", recorded from {_time(self.recorded_from)}"
        if self.recorded_until is not None:
            what += f", recorded before {_time(self.recorded_until)}"
        return f"{what}; with all that lies between" if self._ranged else what

    @property
    def _ranged(self) -> bool:
        return self.complete and self.narrowed

    @property
    def fields(self) -> Mapping[str, str | bool]:
        """What is asked, for the bundle; a token is only said to have been named."""
        said: dict[str, str | bool | None] = {
            "grant_id": None if self.grant_id is None else str(self.grant_id),
            "token": None if self.token is None else "given",
            "provider": self.provider,
            "subject": self.subject,
            "erasure": None if self.erasure is None else str(self.erasure),
            "recorded_from": _time(self.recorded_from),
            "recorded_until": _time(self.recorded_until),
            "complete": self.complete or not self.narrowed,
        }
        return {name: value for name, value in said.items() if value is not None}


def _time(at: datetime | None) -> str | None:
    return None if at is None else at.isoformat().replace("+00:00", "Z")
