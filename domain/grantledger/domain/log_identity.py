"""Which log this is, and whether it is still the one that was known.

Every log has a random incarnation and an origin, the first line of its checkpoints.
Outside the database stand, for each replica, the incarnation, the size and the last
leaf of the log as it was last seen. A database that was restored, or a standby that
took over without the newest commits, contradicts them, and only then.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class KnownLog:
    """A log as it was at one moment.

    Attributes:
        incarnation: random, in hexadecimal.
        origin: first line of its checkpoints.
        size: how many leaves it had.
        leaf: hash of the last of them in hexadecimal, empty without leaves.
        root: of the tree over them, in hexadecimal (RFC 6962 section 2.1).
    """

    incarnation: str
    origin: str
    size: int
    leaf: str
    root: str


@dataclass(frozen=True, slots=True)
class Continuation:
    """That an operator went on with a log which was not the one known."""

    incarnation: str
    origin: str
    previous_incarnation: str
    previous_origin: str
    known_incarnation: str
    known_origin: str
    known_size: int
    found_size: int


def contradiction(
    known: KnownLog,
    found: KnownLog,
    leaf: str | None,
    continuations: Sequence[Continuation] = (),
) -> str | None:
    """Return how the log contradicts what was known of it; None when it does not.

    Args:
        known: from outside the database.
        found: what the database holds.
        leaf: hash of its leaf at `known.size - 1`, None where it has none.
        continuations: that it tells of, oldest first. One that names what is known
            here, or more, was decided by an operator who knew of it.
    """
    if any(
        c.known_incarnation == known.incarnation and c.known_size >= known.size
        for c in continuations
    ):
        return None
    # A log that was continued holds, before that, the one of its earlier incarnation.
    own = {found.incarnation, *(c.previous_incarnation for c in continuations)}
    grown = found.size >= known.size and (known.size == 0 or leaf == known.leaf)
    if grown and known.incarnation in own:
        return None
    lost = [c for c in continuations if c.known_incarnation == known.incarnation]
    if lost:
        return (
            f"it went on from {lost[-1].known_size} known leaves, "
            f"and {known.size} are known here"
        )
    if known.incarnation not in own:
        return (
            f"it is another log: its incarnation is {found.incarnation} and that of "
            f"the one known is {known.incarnation}; it has {found.size} leaves, and "
            f"{known.size} are known"
        )
    if found.size < known.size:
        return f"it has {found.size} leaves, and {known.size} are known"
    return (
        f"it has {found.size} leaves, but leaf {known.size - 1} is not "
        f"the last of the {known.size} known"
    )
