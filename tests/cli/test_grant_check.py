"""Rows and replays are compared at one version, while somebody writes."""

from __future__ import annotations

import itertools
from collections.abc import AsyncIterator, Callable, Iterator
from uuid import UUID

import pytest

from grantledger.adapters.cli.grant_check import check_grants
from grantledger.adapters.ledger.histories import Told
from grantledger.domain.errors import IntegrityError, Unavailable
from grantledger.domain.fleet import GrantFilter
from grantledger.domain.user_grant import UserGrant
from tests.domain.arrange import GRANT_ID, Case


class Ledger:
    """Rows and replays as told."""

    def __init__(
        self, rows: list[UserGrant | None], replays: list[UserGrant | None]
    ) -> None:
        self._rows = itertools.chain(rows, itertools.repeat(rows[-1]))
        self._replays = itertools.chain(replays, itertools.repeat(replays[-1]))

    async def each(self, wanted: GrantFilter) -> AsyncIterator[UserGrant]:
        assert wanted == GrantFilter()
        first = next(self._rows)
        if first is not None:
            yield first

    async def get(self, grant_id: UUID) -> UserGrant | None:
        assert grant_id == GRANT_ID
        return next(self._rows)

    async def replay(self, grant_id: UUID) -> UserGrant | None:
        assert grant_id == GRANT_ID
        return next(self._replays)

    async def check_states(self, grant_id: UUID) -> int:
        del grant_id
        return 0

    async def over_history(
        self, grant_id: UUID, fold: Callable[[Iterator[Told]], int]
    ) -> int:
        assert grant_id == GRANT_ID
        return fold(iter(()))


def _at(version: int) -> UserGrant:
    grant = Case().grant
    return UserGrant.from_state(grant.state, version, grant.modified_on)


async def test_a_grant_that_moved_on_is_looked_at_again() -> None:
    ledger = Ledger([_at(1), _at(2)], [_at(2)])
    report = await check_grants(ledger, [])
    assert (report.grants, report.events) == (1, 2)


async def test_a_grant_that_never_rests_is_unavailable() -> None:
    with pytest.raises(Unavailable, match="changes all the time"):
        await check_grants(Ledger([_at(1)], [_at(2)]), [])


@pytest.mark.parametrize("rows", [[_at(1)], [_at(2), None]])
async def test_a_grant_without_events_or_row_is_found(
    rows: list[UserGrant | None],
) -> None:
    replays: list[UserGrant | None] = [None] if len(rows) == 1 else [_at(1)]
    with pytest.raises(IntegrityError, match="no events, or no row"):
        await check_grants(Ledger(rows, replays), [])
