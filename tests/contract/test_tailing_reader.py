"""A reader that follows notification ids misses nothing, whoever writes at once.

The library's cases let a recorder pass whose ids become visible out of order; a
reader that goes on from the last id it saw then never sees the late ones.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Event

import pytest

from tests.contract.stores import Store, proven
from tests.ledger.workers import in_processes, write_streams


def _tail(store: Store, stop: Event) -> list[tuple[int, bytes]]:
    """Follow the log from its beginning until nothing comes after `stop`."""
    with store.datastore() as datastore:
        recorder = store.recorders.application(datastore)
        seen: list[tuple[int, bytes]] = []
        while True:
            last_look = stop.is_set()
            page = recorder.select_notifications(
                seen[-1][0] if seen else None, 7, inclusive_of_start=False
            )
            seen += [(n.id, n.state) for n in page]
            if last_look and not page:
                return seen


@pytest.mark.parametrize(("processes", "threads"), [(1, 8), (3, 2)])
def test_a_reader_sees_every_event_of_every_writer_once(
    store: Store, tmp_path: Path, processes: int, threads: int
) -> None:
    """Whoever wrote: indices have no gap, and each leaf hash is that of its bytes."""
    stop = Event()
    writes = 60
    with ThreadPoolExecutor(1) as pool:
        reader = pool.submit(_tail, store, stop)
        try:
            job = (store.job(), tmp_path, processes, threads, writes)
            written = sum(in_processes(write_streams, [job] * processes))
        finally:
            stop.set()
        seen = reader.result()
    assert [number for number, _ in seen] == list(range(1, written + 1))
    assert len({state for _, state in seen}) == written
    assert proven(store) == written == processes * threads * writes * 2
