"""Pages of a list of which a caller may see some: as if the others were not there."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import TypeVar
from uuid import UUID

T = TypeVar("T")
LOOKS = 5
"""Pages of the whole list that are looked at for one page of what may be seen."""

Page = Callable[[UUID | None], Awaitable[tuple[Sequence[T], UUID | None]]]
"""Returns the next ones by id, and where to go on, None at the end."""


async def seen_page(
    page: Page[T],
    may: Callable[[T], bool],
    id_of: Callable[[T], UUID],
    after: UUID | None,
    limit: int,
) -> tuple[list[T], UUID | None]:
    """Return the next ones that may be seen, and where to go on, None at the end.

    Where to go on names none that may not be seen, nor tells that there is one, as far
    as `LOOKS` pages reach: else who asks for one at a time is told of each.

    Args:
        page: the whole list, so many at a time as it may give.
        may: whether one may be seen.
        id_of: its id.
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
        return seen[:limit], id_of(seen[limit - 1])
    return seen, after
