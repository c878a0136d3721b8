"""The authorization server of the story: the ports to it, and what a thief does."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from itertools import count

from grantledger.domain.answers import (
    RevocationConfirmed,
    TokenAnswer,
    UpstreamFailure,
    VerifiedSubject,
)
from grantledger.domain.errors import InvalidSubjectToken
from grantledger.domain.values import (
    AccessToken,
    FailureClass,
    RefreshToken,
    Scopes,
    TokenKind,
)
from tests.incident.cast import REUSE, SCOPES

ACCESS_SECONDS = 3600
REFRESH_SECONDS = 30 * 86_400
BUSY = UpstreamFailure(
    FailureClass.TRANSIENT, sent=True, error="temporarily_unavailable", status=503
)
SILENT = UpstreamFailure(FailureClass.AMBIGUOUS, sent=True, error="timeout")
SPENT = UpstreamFailure(
    FailureClass.INVALID_GRANT,
    sent=True,
    error="invalid_grant",
    description=REUSE,
    status=400,
)


@dataclass
class StoryServer:
    """Rotates refresh tokens, and ends the family of one that is used twice.

    Attributes:
        trouble: what happens to requests about a user, `*` for all others: `busy` is
            answered with 503, `silent` is lost on the way there, `once` is lost, and
            the next is well; `deaf` refuses to revoke.
        endless: lines of which no refresh token is said to end.
    """

    now: Callable[[], datetime]
    trouble: dict[str, str] = field(default_factory=dict[str, str])
    endless: frozenset[str] = frozenset({"alice/work"})
    current: dict[str, str] = field(default_factory=dict[str, str])
    owner: dict[str, str] = field(default_factory=dict[str, str])
    sessions: dict[str, VerifiedSubject] = field(
        default_factory=dict[str, VerifiedSubject]
    )
    numbers: count[int] = field(default_factory=lambda: count(1))

    def consent(self, line: str) -> str:
        """Return the refresh token that a user's consent brings; a line is a grant."""
        token = f"rt-{line}-{next(self.numbers):05}"
        self.current[line] = token
        self.owner[token] = line
        return token

    def session(self, subject: str) -> str:
        """Return a session token of the user's own."""
        token, jti = self._access(subject, "openid", "ses")
        ends = self.now() + timedelta(seconds=ACCESS_SECONDS)
        self.sessions[token] = VerifiedSubject(
            subject, ends, ("calendar.read", "openid"), "web", jti
        )
        return token

    def stolen(self, line: str) -> str:
        """Redeem the current refresh token, as a thief does; return it."""
        token = self.current[line]
        self.consent(line)
        return token

    # The ports AuthorizationServer and TokenVerifier.

    async def redeem(
        self,
        refresh_token: RefreshToken,
        *,
        scopes: Scopes,
        audience: str | None,
        resource: str | None,
        budget_seconds: float,
    ) -> TokenAnswer | UpstreamFailure:
        del audience, resource, budget_seconds
        line = self.owner[refresh_token.reveal()]
        trouble = self.trouble.get(line) or self.trouble.get("*")
        if trouble == "once":
            self.trouble[line] = "none"
            return SILENT
        if trouble in ("busy", "silent"):
            return BUSY if trouble == "busy" else SILENT
        if self.current[line] != refresh_token.reveal():
            return SPENT
        granted = scopes or SCOPES
        access, jti = self._access(line, " ".join(granted), "at")
        return TokenAnswer(
            sent_at=self.now(),
            refresh_token=RefreshToken(self.consent(line)),
            refresh_expires_in=None if line in self.endless else REFRESH_SECONDS,
            access_token=AccessToken(access),
            expires_in=ACCESS_SECONDS,
            scopes=granted,
            jti=jti,
        )

    async def exchange(
        self,
        subject_token: AccessToken,
        *,
        scopes: Scopes,
        audience: str | None,
        resource: str | None,
        budget_seconds: float,
    ) -> TokenAnswer | UpstreamFailure:
        del audience, budget_seconds
        subject = self.sessions[subject_token.reveal()].subject
        granted = scopes or ("calendar.read", "openid")
        access, jti = self._access(subject, " ".join(granted), f"ex-{resource}")
        return TokenAnswer(
            sent_at=self.now(),
            access_token=AccessToken(access),
            expires_in=300,
            scopes=granted,
            jti=jti,
        )

    async def revoke(
        self, token: str, kind: TokenKind, *, budget_seconds: float
    ) -> RevocationConfirmed | UpstreamFailure:
        del kind, budget_seconds
        if self.trouble.get(self.owner.get(token, "")) == "deaf":
            return BUSY
        return RevocationConfirmed()

    async def verify(self, token: AccessToken) -> VerifiedSubject:
        found = self.sessions.get(token.reveal())
        if found is None:
            raise InvalidSubjectToken("no such session")
        return found

    def _access(self, subject: str, scope: str, what: str) -> tuple[str, str]:
        """Return a JWT and its id; nobody checks its signature here."""
        jti = f"{what}-{next(self.numbers):06}"
        said = {"sub": subject, "scope": scope, "jti": jti}
        parts = [{"alg": "RS256", "typ": "at+jwt"}, said]
        encoded = [
            base64.urlsafe_b64encode(json.dumps(part).encode()).rstrip(b"=").decode()
            for part in parts
        ]
        token = ".".join([*encoded, "c2lnbmVkLWluLXRoZS1zdG9yeQ"])
        self.owner[token] = subject
        return token, jti
