"""What was found, and where: every message names a position.

A finding says that something is not what was recorded. What cannot be read at all is
no finding: it is told apart, so that nobody takes a missing file for a proof.
"""

from __future__ import annotations

from dataclasses import dataclass, field

MAX_FINDINGS = 1_000
MAX_SHOWN = 200
"""Characters of what was read that a message repeats."""


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that does not hold.

    Attributes:
        where: the position, such as `leaf 12` or `current_grants <grant id>`.
        message: what is wrong there.
    """

    where: str
    message: str

    def __str__(self) -> str:
        """Return both as one line."""
        return f"{self.where}: {self.message}"


class Refuted(Exception):
    """Something does not hold, and what comes after it cannot be checked."""

    def __init__(self, where: str, message: str) -> None:
        super().__init__(where, message)
        self.finding = Finding(where, message)


class Unreadable(Exception):
    """The input or the question is no good: nothing was proven, nothing refuted."""


class TooMany(Exception):
    """So much is wrong that the rest is not worth telling."""


@dataclass(slots=True)
class Findings:
    """What was found so far, in order.

    Attributes:
        cut: there may be more.
    """

    items: list[Finding] = field(default_factory=list[Finding])
    cut: bool = False

    def add(self, where: str, message: str) -> None:
        """Keep a finding.

        Raises:
            TooMany: there are as many as are kept.
        """
        self.items.append(Finding(where, message))
        if len(self.items) >= MAX_FINDINGS:
            self.cut = True
            raise TooMany

    def extend(self, others: Findings) -> None:
        """Keep those of a part that was checked by itself."""
        self.cut = self.cut or others.cut
        for other in others.items:
            self.add(other.where, other.message)


def shown(value: object) -> str:
    """Return what was read, on one line and not too long, for a message."""
    text = repr(value)
    return text if len(text) <= MAX_SHOWN else f"{text[:MAX_SHOWN]}..."
