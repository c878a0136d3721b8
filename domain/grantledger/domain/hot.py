"""Which tokens are asked for so often that nobody should wait for the next one.

Counted by each replica for itself, in bounded memory. A token that nobody asks for is
not refreshed: it is forgotten with its last usable moment.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from uuid import UUID

from grantledger.domain.grant_state import HeldAccessToken
from grantledger.domain.schedule import spread
from grantledger.domain.values import Scopes

MAX_TOKENS = 4_000
MIN_USABLE_SECONDS = 10.0
LEAD_SHARE = 0.1
LONGEST_LEAD_SECONDS = 30.0
RECENT_SHARE = 0.5


@dataclass(slots=True)
class HotToken:
    """A token that was handed out, and how often.

    Attributes:
        version: of the event that recorded it.
        until: aware UTC, from when on it counts as missing.
        refresh_at: from when on it is refreshed if it is hot.
        last_at: of the last hand-out.
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


class HotTokens:
    """The table; the longest unasked-for leaves first."""

    def __init__(self) -> None:
        self._tokens: OrderedDict[tuple[UUID, int], HotToken] = OrderedDict()

    def __len__(self) -> int:
        """Return how many tokens are known."""
        return len(self._tokens)

    def note(
        self,
        grant_id: UUID,
        provider: str,
        token: HeldAccessToken,
        until: datetime,
        at: datetime,
    ) -> None:
        """Count a hand-out.

        Args:
            grant_id: whose token.
            provider: the grant's.
            token: what was handed out.
            until: aware UTC, from when on it counts as missing.
            at: now.
        """
        key = (grant_id, token.version)
        known = self._tokens.get(key)
        if known is None:
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
            while len(self._tokens) > MAX_TOKENS:
                self._tokens.popitem(last=False)
        else:
            self._tokens.move_to_end(key)
        known.count += 1
        known.last_at = at

    def due(self, at: datetime, hand_outs: int) -> Sequence[HotToken]:
        """Return the hot tokens whose time has come; each is returned once.

        Args:
            at: aware UTC.
            hand_outs: of one token that make it hot, the last of them in the second
                half of its usable time.
        """
        over = [key for key, token in self._tokens.items() if token.refresh_at <= at]
        found = [self._tokens.pop(key) for key in over]
        return [
            token
            for token in found
            if token.until > at
            and token.count >= hand_outs
            and token.usable_seconds >= MIN_USABLE_SECONDS
            and (at - token.last_at).total_seconds()
            <= token.usable_seconds * RECENT_SHARE
        ]
