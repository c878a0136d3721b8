"""How often: of each caller, and of each address that proves no caller.

Kept in each process by itself, in bounded memory: what was longest unused is forgotten
first, and then has its whole allowance again.
"""

from __future__ import annotations

from collections import OrderedDict

MAX_KEPT = 10_000


class Pace:
    """An allowance for each key that fills up again.

    Args:
        per_second: what comes back.
        burst: what there is at most; 1 at least.
    """

    def __init__(self, per_second: float, burst: float) -> None:
        self._rate = per_second
        self._burst = max(1.0, burst)
        self._kept: OrderedDict[str, tuple[float, float]] = OrderedDict()

    def take(self, key: str, now: float) -> float:
        """Take one; return 0.0, or the seconds until there is one again."""
        level = self._level(key, now)
        if level < 1:
            return (1 - level) / self._rate
        self._keep(key, level - 1, now)
        return 0.0

    def wait(self, key: str, now: float) -> float:
        """Return the seconds until one could be taken, 0.0 where it can be now."""
        level = self._level(key, now)
        return 0.0 if level >= 1 else (1 - level) / self._rate

    def _level(self, key: str, now: float) -> float:
        level, since = self._kept.get(key, (self._burst, now))
        return min(self._burst, level + max(0.0, now - since) * self._rate)

    def _keep(self, key: str, level: float, now: float) -> None:
        self._kept[key] = (level, now)
        self._kept.move_to_end(key)
        while len(self._kept) > MAX_KEPT:
            self._kept.popitem(last=False)
