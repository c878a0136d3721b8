"""A reader that follows notification ids misses nothing, whoever writes at once.

The library's cases let a recorder pass whose ids become visible out of order; a
reader that goes on from the last id it saw then never sees the late ones.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Event

from grantledger.adapters.ledger.connections import LedgerDatastore
from grantledger.adapters.ledger.recorders import LedgerApplicationRecorder
from tests.ledger.merkle import naive_root, recomputed
from tests.ledger.scene import Scene
from tests.ledger.workers import in_processes, write_streams


def _tail(path: Path, stop: Event) -> list[tuple[int, bytes]]:
    """Follow the log from its beginning until nothing comes after `stop`."""
    store = LedgerDatastore(str(path))
    recorder = LedgerApplicationRecorder(store)
    seen: list[tuple[int, bytes]] = []
    while True:
        last_look = stop.is_set()
        page = recorder.select_notifications(
            seen[-1][0] if seen else None, 7, inclusive_of_start=False
        )
        seen += [(n.id, n.state) for n in page]
        if last_look and not page:
            store.close()
            return seen


def _followed(path: Path, writers: list[tuple[Path, int, int, int]]) -> int:
    """Write in processes while a reader follows; return how much was written."""
    stop = Event()
    with ThreadPoolExecutor(1) as pool:
        reader = pool.submit(_tail, path, stop)
        try:
            written = sum(in_processes(write_streams, writers))
        finally:
            stop.set()
        seen = reader.result()
    assert [number for number, _ in seen] == list(range(1, written + 1))
    assert len({state for _, state in seen}) == written
    return written


def test_a_reader_sees_every_event_of_many_threads_once(scene: Scene) -> None:
    written = _followed(scene.path, [(scene.path, 1, 8, 60)])
    assert written == 8 * 120


def test_a_reader_sees_every_event_of_many_processes_once(scene: Scene) -> None:
    written = _followed(scene.path, [(scene.path, 3, 2, 60)] * 3)
    assert written == 3 * 2 * 120


def test_the_head_is_the_root_over_what_is_stored(scene: Scene) -> None:
    """Whoever wrote: indices have no gap, each leaf hash is that of its bytes."""
    in_processes(write_streams, [(scene.path, 2, 2, 30)] * 2)
    head, hashes = recomputed(scene.path)
    assert head.size == len(hashes) == 2 * 2 * 60
    assert head.root() == naive_root(hashes)
