"""What an authorization server can answer, in the domain's own words.

The upstream adapter returns these values instead of raising: an answer that
carries a refresh token must reach the ledger whatever else is wrong with it.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from grantledger.domain.delegation import MayAct
from grantledger.domain.values import (
    AccessToken,
    FailureClass,
    RefreshToken,
    Scopes,
)


@dataclass(frozen=True, slots=True)
class TokenAnswer:
    """A 200 answer of the token endpoint, read tolerantly (RFC 6749 section 5.1).

    Attributes:
        sent_at: aware UTC, when the request was sent: lifetimes count from here.
        refresh_token: None when the answer had none.
        refresh_expires_in: seconds, None when the server named none.
        access_token: None when the answer was malformed in that part.
        expires_in: seconds above 0, None when absent or unreadable.
        scopes: None when the answer named no scope.
        id_token_subject: `sub` of the ID token in the answer, None without one.
        jti: the access token's own id when it is a JWT, else None.
        defect: what is wrong with the answer, None for a good one.
    """

    sent_at: datetime
    refresh_token: RefreshToken | None = None
    refresh_expires_in: int | None = None
    access_token: AccessToken | None = None
    token_type: str = "Bearer"  # noqa: S105 - a type's name
    expires_in: int | None = None
    scopes: Scopes | None = None
    issued_token_type: str | None = None
    id_token_subject: str | None = None
    jti: str | None = None
    defect: str | None = None


@dataclass(frozen=True, slots=True)
class UpstreamFailure:
    """No usable answer.

    Attributes:
        failure: what it means for the next step.
        sent: False only when it is certain that nothing reached the server.
        error: the OAuth error code or our own short word for the cause.
        description: the server's words, bounded to 500 characters; sealed when stored.
        status: HTTP status, None without an answer.
        retry_after: seconds, None when the server named none.
    """

    failure: FailureClass
    sent: bool
    error: str
    description: str = ""
    status: int | None = None
    retry_after: float | None = None


@dataclass(frozen=True, slots=True)
class RevocationConfirmed:
    """The server answered 200: the token is dead, or was never known (RFC 7009 2.2)."""

    status: int = 200


@dataclass(frozen=True, slots=True)
class VerifiedSubject:
    """A session token that verified: who it speaks for, and until when.

    Attributes:
        may_act: who may act for the user, None where the token does not say.
        actors: who acts by the token already, the current one first.
    """

    subject: str
    expires_at: datetime
    scopes: Scopes
    client_id: str | None
    jti: str | None
    may_act: MayAct | None = None
    actors: tuple[str, ...] = ()
