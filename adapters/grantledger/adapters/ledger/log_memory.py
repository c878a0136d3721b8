"""What a process has seen of its log, and what it therefore refuses.

A log grows, and nothing else ever happens to it. A store that comes back with fewer
leaves, or with another one where the last was, is a backup that was put in its place
or a standby that lacked the newest commits: the process then appends nothing more.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from grantledger.domain.errors import LedgerError, LedgerRestored
from grantledger.domain.ledger_life import LedgerState
from grantledger.projections.transparency import CompactRange, leaf_hash


@dataclass(frozen=True, slots=True)
class LogView:
    """The log in one snapshot of its store.

    Attributes:
        incarnation: that it began with; `life` tells of later ones.
        tree: its right edge.
        leaves: leaf hashes by the size that the log had with them.
    """

    incarnation: str
    tree: CompactRange
    leaves: dict[int, bytes]
    life: LedgerState

    def leaf(self, size: int) -> bytes | None:
        """Return the hash of the last of the first `size` leaves, None without."""
        return self.leaves.get(size)


class LogMemory:
    """The newest leaf that this process has seen committed; safe in threads.

    Args:
        name: of the ledger, for messages.

    Attributes:
        refusal: why nothing may be appended, None while all is well.
        noted: called with each commit, in the thread that writes.
    """

    def __init__(self, name: str) -> None:
        self._name = name
        self.refusal: LedgerError | None = None
        self.noted: Callable[[], None] | None = None
        # One tuple, replaced as a whole: size, the leaf's hash or else its bytes.
        self._seen: tuple[int, bytes, bytes] = (0, b"", b"")

    @property
    def seen(self) -> tuple[int, bytes]:
        """How many leaves there were, and the hash of the last; empty without."""
        size, hashed, state = seen = self._seen
        if state:
            hashed = leaf_hash(state)
            if self._seen is seen:
                self._seen = (size, hashed, b"")
        return size, hashed

    @property
    def size(self) -> int:
        """How many leaves there were."""
        return self._seen[0]

    def saw(self, size: int, hashed: bytes) -> None:
        """Remember a committed log by the hash of its last leaf."""
        self._seen = (size, hashed, b"")

    def wrote(self, size: int, state: bytes) -> None:
        """Remember what was just committed by its last leaf, hashed when asked for."""
        self._seen = (size, b"", state)
        self.confirmed()

    def confirmed(self) -> None:
        """Have noted what was seen: a commit of this process, though told late."""
        if self.noted is not None:
            self.noted()

    def admit(self) -> None:
        """Raise what is refused, if anything is."""
        if self.refusal is not None:
            # A fresh one for each caller: a raised error collects its traceback.
            raise type(self.refusal)(*self.refusal.args)

    def compare(self, seen: tuple[int, bytes], size: int, leaf: bytes | None) -> None:
        """Refuse everything from now on, if the log is not the one seen.

        Args:
            seen: taken from `seen` before the store was looked at.
            size: of the log as it is.
            leaf: hash of its leaf at `seen[0] - 1`, None where it has none.

        Raises:
            LedgerRestored: names both sizes.
        """
        known, hashed = seen
        if known == 0 or (size >= known and leaf == hashed):
            return
        if size < known:
            how = f"it has {size} leaves, and this process has seen {known}"
        else:
            how = f"it has {size} leaves, but leaf {known - 1} is another than before"
        self.refusal = restored(self._name, how)
        self.admit()


def restored(name: str, how: str) -> LedgerRestored:
    """Return the error for a ledger that is not what it was."""
    return LedgerRestored(
        f"{name} was restored, or a failover lost commits: {how}; nothing is handed "
        "out, sent or signed until `grantledger continue`"
    )
