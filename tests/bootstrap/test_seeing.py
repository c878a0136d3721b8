"""Pages of what may be seen are those of a list that holds nothing else."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from uuid import UUID

from hypothesis import given
from hypothesis import strategies as st

from grantledger.adapters.bootstrap.seeing import LOOKS, seen_page

PORTION = 3


def pages(
    seen: Sequence[bool], limit: int
) -> tuple[list[list[int]], list[UUID | None]]:
    """Return every page, and where each says to go on."""
    found: list[list[int]] = []
    places: list[UUID | None] = []

    async def page(after: UUID | None) -> tuple[Sequence[int], UUID | None]:
        start = 0 if after is None else after.int + 1
        end = start + PORTION
        some = range(start, min(end, len(seen)))
        return some, UUID(int=end - 1) if end < len(seen) else None

    async def read() -> None:
        after = None
        while True:
            some, after = await seen_page(
                page, seen.__getitem__, lambda one: UUID(int=one), after, limit
            )
            found.append(some)
            places.append(after)
            if after is None:
                return

    asyncio.run(read())
    return found, places


@given(st.lists(st.booleans(), max_size=40), st.integers(1, 4))
def test_each_that_may_be_seen_is_on_one_page(seen: list[bool], limit: int) -> None:
    found, _ = pages(seen, limit)
    assert [one for some in found for one in some] == [
        at for at, may in enumerate(seen) if may
    ]
    assert all(len(some) <= limit for some in found)


@given(st.lists(st.booleans(), max_size=LOOKS * PORTION), st.integers(1, 4))
def test_no_place_is_one_that_may_not_be_seen(seen: list[bool], limit: int) -> None:
    found, places = pages(seen, limit)
    assert all(some for some in found[1:])
    assert all(place is None or seen[place.int] for place in places)
