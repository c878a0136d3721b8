"""When an unasked-for rotation of a grant is due, and how such times are spread.

What the state alone says is kept beside the grant's row, so that a store finds what
is due by an index; how long a provider's grants may stay unused is a rule, and comes
in with the question. No number is drawn: a grant's place within the window follows
from its id and its refresh token's version, the same on every replica.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from uuid import UUID

from grantledger.domain.grant_state import GrantState
from grantledger.domain.provider import ProviderRules

SLOTS = 60
SPREAD_SHARE = 0.25
KEEP_FROM, KEEP_UNTIL = 0.5, 2 / 3
MIN_LIFE_SECONDS = 60.0
EXPIRY_SLACK_SECONDS = 60.0
_STEPS = 2**16


@dataclass(frozen=True, slots=True)
class Times:
    """What a worker looks a usable grant up by.

    Attributes:
        slot: 0 to SLOTS - 1, its place among grants that were last used together.
        used_at: aware UTC, when the refresh token last brought something.
        keep_at: when it has to be used again so that it does not expire; None where
            no end was stated, or the token lives too short for anybody to keep it.
        ends_at: the stated end of its life, None where none was stated.
        retry_at: not before, after a failure.
    """

    slot: int
    used_at: datetime
    keep_at: datetime | None
    ends_at: datetime | None
    retry_at: datetime | None


def times_of(state: GrantState) -> Times | None:
    """Return when to look after the grant, None where nothing can be rotated."""
    refresh = state.refresh
    if not state.usable or refresh is None:
        return None
    step = spread(state.grant_id, refresh.version)
    # A server that keeps the refresh token leaves no trace of its use but a token.
    used_at = max([refresh.obtained_at, *(t.obtained_at for t in state.access_tokens)])
    keep_at: datetime | None = None
    if refresh.expires_at is not None:
        life = refresh.expires_at - used_at
        if life.total_seconds() >= MIN_LIFE_SECONDS:
            keep_at = used_at + life * (
                KEEP_UNTIL - (KEEP_UNTIL - KEEP_FROM) * step / _STEPS
            )
    return Times(
        slot=step * SLOTS // _STEPS,
        used_at=used_at,
        keep_at=keep_at,
        ends_at=refresh.expires_at,
        retry_at=state.retry_at,
    )


def spread(grant_id: UUID, version: int) -> int:
    """Return a number from 0 to 65,535 that is as good as drawn, but stays the same."""
    digest = hashlib.sha256(grant_id.bytes + version.to_bytes(8, "big")).digest()
    return int.from_bytes(digest[:2], "big")


def unused_since(rules: ProviderRules, at: datetime) -> Sequence[datetime]:
    """Return for each slot since when a grant was not used whose rotation is due.

    The slots divide the last quarter of the interval: no grant waits for longer than
    the interval. Empty where the provider has none.
    """
    interval = rules.rotation_interval_seconds
    if interval is None:
        return ()
    return [
        at - timedelta(seconds=interval * (1 - SPREAD_SHARE * slot / SLOTS))
        for slot in range(SLOTS)
    ]


def rotation_due(state: GrantState, rules: ProviderRules, at: datetime) -> bool:
    """Tell whether the grant is to be rotated at `at`, though nobody asks for it."""
    times = times_of(state)
    if times is None or (times.retry_at is not None and times.retry_at > at):
        return False
    if rules.keep_alive and times.keep_at is not None and times.keep_at <= at:
        return True
    since = unused_since(rules, at)
    return bool(since) and times.used_at <= since[times.slot]
