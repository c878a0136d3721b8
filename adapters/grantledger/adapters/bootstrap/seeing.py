"""Pages of a list of which a caller may see some: as if the others were not there."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import TypeVar

T = TypeVar("T")
P = TypeVar("P")
LOOKS = 5
"""Pages of the whole list that are looked at for one page of what may be seen."""

Page = Callable[[P | None], Awaitable[tuple[Sequence[T], P | None]]]
"""Returns the next ones after a place, and where to go on, None at the end."""


async def seen_page(
    page: Page[P, T],
    may: Callable[[T], bool],
    place_of: Callable[[T], P],
    after: P | None,
    limit: int,
) -> tuple[list[T], P | None]:
    """Return the next ones that may be seen, and where to go on, None at the end.

    Where to go on names none that may not be seen, nor tells that there is one, as far
    as `LOOKS` pages reach: else who asks for one at a time is told of each.

    Args:
        page: the whole list, so many at a time as it may give.
        may: whether one may be seen.
        place_of: its place, such as its id.
        after: where to begin, None for the first.
        limit: how many at most.
    """
    seen: list[T] = []
    for _ in range(LOOKS):
        some, after = await page(after)
        seen += [one for one in some if may(one)]
        if after is None or len(seen) > limit:
            break
    if len(seen) > limit:
        return seen[:limit], place_of(seen[limit - 1])
    return seen, after
