"""Which tokens are asked for so often that nobody should wait for the next one.

Counted by each replica for itself, in bounded memory. A token that nobody asks for is
not refreshed: it is forgotten with its last usable moment.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from uuid import UUID

from grantledger.domain.held_tokens import Pick
from grantledger.domain.schedule import spread
from grantledger.domain.values import Scopes

MAX_TOKENS = 4_000
MIN_USABLE_SECONDS = 10.0
LEAD_SHARE = 0.1
LONGEST_LEAD_SECONDS = 30.0
RECENT_SHARE = 0.5
LEAVE_AT_ONCE = 400


@dataclass(slots=True)
class HotToken:
    """A token that was handed out, and how often.

    Attributes:
        version: of the event that recorded it.
        until: aware UTC, from when on it counts as missing.
        refresh_at: from when on it is refreshed if it is hot.
        last_at: of the last hand-out.
        forgotten: it is in the table no more.
    """

    grant_id: UUID
    provider: str
    version: int
    asked: Scopes
    audience: str | None
    usable_seconds: float
    until: datetime
    refresh_at: datetime
    last_at: datetime
    count: int = 0
    forgotten: bool = False


class HotTokens:
    """The table; the longest unasked-for leaves first."""

    def __init__(self) -> None:
        self._tokens: dict[tuple[UUID, int], HotToken] = {}

    def __len__(self) -> int:
        """Return how many tokens are known."""
        return len(self._tokens)

    def note(self, grant_id: UUID, provider: str, pick: Pick, at: datetime) -> None:
        """Count a hand-out.

        Args:
            grant_id: whose token.
            provider: the grant's.
            pick: what was handed out; it keeps its place in the table.
            at: now.
        """
        known = pick.hot
        if known is None or known.forgotten:
            known = pick.hot = self._known(grant_id, provider, pick, at)
        known.count += 1
        known.last_at = at

    def _known(
        self, grant_id: UUID, provider: str, pick: Pick, at: datetime
    ) -> HotToken:
        """Return what is known of a token, which other picks may have noted."""
        token, until = pick.token, pick.until
        key = (grant_id, token.version)
        known = self._tokens.get(key)
        if known is None:
            if len(self._tokens) >= MAX_TOKENS:
                self._make_room()
            usable = (until - token.obtained_at).total_seconds()
            lead = min(usable * LEAD_SHARE, LONGEST_LEAD_SECONDS)
            # Tokens that were got together are not refreshed together.
            lead *= 1 - spread(grant_id, token.version) / 2**17
            known = self._tokens[key] = HotToken(
                grant_id=grant_id,
                provider=provider,
                version=token.version,
                asked=token.asked,
                audience=token.audience,
                usable_seconds=usable,
                until=until,
                refresh_at=until - timedelta(seconds=lead),
                last_at=at,
            )
        return known

    def _make_room(self) -> None:
        by_age = sorted(self._tokens, key=lambda key: self._tokens[key].last_at)
        for key in by_age[:LEAVE_AT_ONCE]:
            self._tokens.pop(key).forgotten = True

    def due(self, at: datetime, hand_outs: int) -> Sequence[HotToken]:
        """Return the hot tokens whose time has come; each is returned once.

        Args:
            at: aware UTC.
            hand_outs: of one token that make it hot, the last of them in the second
                half of its usable time.
        """
        over = [key for key, token in self._tokens.items() if token.refresh_at <= at]
        found = [self._tokens.pop(key) for key in over]
        for token in found:
            token.forgotten = True
        return [
            token
            for token in found
            if token.until > at
            and token.count >= hand_outs
            and token.usable_seconds >= MIN_USABLE_SECONDS
            and (at - token.last_at).total_seconds()
            <= token.usable_seconds * RECENT_SHARE
        ]
