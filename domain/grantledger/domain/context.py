"""Who acts, when, and through what: passed to every command of the aggregate."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from grantledger.domain.values import Actor


@dataclass(frozen=True, slots=True)
class Context:
    """One decision's surroundings; the domain reads no clock and draws no number.

    Attributes:
        at: aware UTC.
        new_id: gives each event its id.
        node: the replica that decides.
        policy: version of the policy that allowed it.
        jitter: in [0, 1), spreads retries.
    """

    at: datetime
    new_id: Callable[[], UUID]
    request_id: str
    node: str
    actor: Actor
    policy: str = ""
    jitter: float = 0.5

    def said(self) -> dict[str, object]:
        """Return the fields that every event carries, with a fresh event id."""
        return {
            "event_id": self.new_id(),
            "request_id": self.request_id,
            "node": self.node,
            "actor_kind": self.actor.kind,
            "by": self.actor,
            "policy": self.policy,
        }


def backoff_seconds(
    tries: int, jitter: float, *, base: float = 1.0, cap: float = 3600.0
) -> float:
    """Return the wait before the next try: doubling, capped, spread by half.

    Args:
        tries: how many have failed already, 0 or more.
        jitter: in [0, 1).
        base: seconds after the first failure, before spreading.
        cap: seconds at most.
    """
    return min(cap, base * 2.0 ** min(tries, 30)) * (0.5 + jitter / 2)
