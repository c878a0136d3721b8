"""A pooled connection to a file after a commit that failed."""

from __future__ import annotations

from collections import deque
from contextlib import closing

import pytest
from eventsourcing.persistence import OperationalError

from tests.ledger.parts import BROKEN, FAILED, flaky_store
from tests.ledger.scene import Scene


def test_a_pooled_connection_is_usable_after_a_failed_commit(scene: Scene) -> None:
    orders = deque([FAILED, BROKEN])
    with closing(flaky_store(scene, orders)) as store:
        for _ in range(2):
            with (
                pytest.raises(OperationalError),
                store.transaction(commit=True) as c,
            ):
                c.execute("INSERT INTO meta VALUES ('a', 'b')")
            with store.transaction(commit=False) as c:
                c.execute("SELECT count(*) FROM meta")
