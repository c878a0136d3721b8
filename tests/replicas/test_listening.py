"""Hearing of what other replicas write, and noticing when one no longer does."""

from __future__ import annotations

import queue
import threading
from uuid import UUID

from grantledger.adapters.ledger.postgres.listening import Listener
from tests.contract.stores import PostgresStore

WAIT_SECONDS = 10.0


def test_who_waits_looks_as_soon_as_nobody_listens_any_more(
    postgres: PostgresStore,
) -> None:
    """Else a change in that moment is found a whole rare poll later."""
    heard: queue.Queue[tuple[UUID | None, bool]] = queue.Queue()
    made = threading.Event()

    def changed(grant: UUID | None) -> None:
        assert made.wait(WAIT_SECONDS)
        heard.put((grant, listener.listening))

    listener = Listener(postgres.place, changed)
    made.set()
    try:
        assert heard.get(timeout=WAIT_SECONDS) == (None, True)
        postgres.sql(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
            " WHERE starts_with(query, 'LISTEN')"
        )
        assert heard.get(timeout=WAIT_SECONDS) == (None, False)
        assert heard.get(timeout=WAIT_SECONDS) == (None, True)
    finally:
        listener.close()
