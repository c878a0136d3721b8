"""What rows of the audit trail say of a token, kept from batch to batch.

A hand-out's row says which token it was by the event that recorded it. Each batch would
read and open that event anew: one for every grant that it has hand-outs of.
"""

from __future__ import annotations

from threading import Lock
from uuid import UUID

from grantledger.projections.audit_folded import Issued

MAX_GRANTS = 4_096
"""Grants whose tokens are kept in memory, some 400 bytes a token."""
MAX_TOKENS = 4
"""Of one grant."""


class IssuedTokens:
    """Tokens whose events have proven themselves; safe in threads.

    What they say never changes. What is erased must not be told any more: who asks sees
    to that, and `forget` drops it.
    """

    def __init__(self, most: int = MAX_GRANTS) -> None:
        self._most = most
        self._lock = Lock()
        self._kept: dict[int, dict[int, Issued]] = {}

    def __len__(self) -> int:
        """Return of how many grants there are any."""
        return len(self._kept)

    def get(self, grant_id: UUID, version: int) -> Issued | None:
        """Return what the grant's event of this version recorded, as far as kept."""
        tokens = self._kept.get(grant_id.int)
        return None if tokens is None else tokens.get(version)

    def keep(self, grant_id: UUID, version: int, issued: Issued) -> None:
        """Keep it; those that were kept first give way."""
        with self._lock:
            tokens = self._kept.get(grant_id.int)
            if tokens is None:
                if len(self._kept) >= self._most:
                    del self._kept[next(iter(self._kept))]
                tokens = self._kept[grant_id.int] = {}
            if len(tokens) >= MAX_TOKENS:
                del tokens[next(iter(tokens))]
            tokens[version] = issued

    def forget(self, grant_id: UUID) -> None:
        """Drop the tokens of a grant."""
        with self._lock:
            self._kept.pop(grant_id.int, None)

    def clear(self) -> None:
        """Drop all of them, such as when the log is not the one known."""
        with self._lock:
            self._kept.clear()
