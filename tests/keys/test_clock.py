"""Time and ids of the machine keep the ports' promises."""

from __future__ import annotations

import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from uuid import RFC_4122

from grantledger.adapters.keys.clock import RandomIds, SystemClock
from grantledger.domain.ports import Clock, Ids


def test_the_time_is_aware_utc() -> None:
    clock: Clock = SystemClock()
    before = datetime.now(UTC)
    now = clock.now()
    assert now.utcoffset() == timedelta(0)
    assert before <= now <= datetime.now(UTC)


def test_monotonic_seconds_pass() -> None:
    clock: Clock = SystemClock()
    start = clock.monotonic()
    time.sleep(0.01)
    assert 0.01 <= clock.monotonic() - start < 10


def test_ids_are_random_and_distinct() -> None:
    ids: Ids = RandomIds()
    made = [ids.uuid() for _ in range(1000)]
    assert len(set(made)) == 1000
    assert {(each.version, each.variant) for each in made} == {(4, RFC_4122)}


def test_request_ids_are_short_and_distinct_across_threads() -> None:
    ids: Ids = RandomIds()

    def many(_: int) -> list[str]:
        return [ids.request_id() for _ in range(2000)]

    with ThreadPoolExecutor(8) as pool:
        made = [each for some in pool.map(many, range(8)) for each in some]
    made += [RandomIds().request_id() for _ in range(100)]
    assert len(set(made)) == 16_100
    assert all(len(each) <= 40 for each in made)


def test_a_child_process_repeats_no_request_id() -> None:
    """In a process of its own: this one has threads, and forks badly."""
    code = (
        "import os\n"
        "from grantledger.adapters.keys.clock import RandomIds\n"
        "ids = RandomIds()\n"
        "made = [ids.request_id()]\n"
        "read, write = os.pipe()\n"
        "child = os.fork()\n"
        "made += [ids.request_id() for _ in range(10)]\n"
        "if not child:\n"
        "    made = made[1:]\n"
        "os.write(write, ' '.join([*made, '']).encode())\n"
        "if child:\n"
        "    os.waitpid(child, 0)\n"
        "    os.close(write)\n"
        "    print(os.read(read, 65536).decode())\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], check=True, capture_output=True, text=True
    )
    made = done.stdout.split()
    assert len(made) == 21
    assert len(set(made)) == 21
    assert len({each.partition("-")[0] for each in made}) == 2


def test_a_new_process_id_starts_a_new_series() -> None:
    """The same without a fork: what counts is the process id."""
    processes = iter([1, 1, 1, 2, 2])
    ids = RandomIds(lambda: next(processes))
    made = [ids.request_id().split("-") for _ in range(4)]
    assert [number for _, number in made] == ["0", "1", "0", "1"]
    assert made[0][0] == made[1][0] != made[2][0] == made[3][0]


def test_jitter_spreads_over_the_unit_interval() -> None:
    ids: Ids = RandomIds()
    made = [ids.jitter() for _ in range(2000)]
    assert all(0 <= each < 1 for each in made)
    assert min(made) < 0.1
    assert max(made) > 0.9
    assert len(set(made)) > 1990
