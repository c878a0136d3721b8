"""The domain reads no clock and draws no number: every default that would raises."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]

# In a process of its own, before any of the domain is imported.  `datetime` cannot
# be changed in place, so that the name is taken by a subclass whose clock raises.
TRAPS = """
import datetime as dt, random, sys, time, uuid

def trap(name):
    def raises(*args, **kwargs):
        caller = sys._getframe(1).f_globals.get("__name__", "")
        if caller.startswith(("grantledger", "eventsourcing", "tests.domain")):
            raise AssertionError(f"{caller} called {name}")
        return real[name](*args, **kwargs)
    return raises

real = {f"time.{n}": getattr(time, n) for n in ("time", "time_ns", "monotonic",
        "monotonic_ns", "perf_counter", "perf_counter_ns", "gmtime", "localtime")}
real |= {f"uuid.{n}": getattr(uuid, n) for n in ("uuid1", "uuid4")}
real |= {f"random.{n}": getattr(random, n) for n in ("random", "randrange", "choice")}
for name in real:
    module, function = name.split(".")
    setattr(sys.modules[module], function, trap(name))

real |= {f"datetime.{n}": getattr(dt.datetime, n) for n in ("now", "utcnow", "today")}

class Datetime(dt.datetime):
    now = trap("datetime.now")
    utcnow = trap("datetime.utcnow")
    today = trap("datetime.today")
dt.datetime = Datetime
"""

LIBRARY = """
import eventsourcing.domain as library
for default in (library.datetime_now_with_tzinfo, library.Aggregate.create_id,
                library.DomainEvent.create_timestamp):
    try:
        default()
    except AssertionError as trapped:
        print("trapped:", trapped)
"""

LIFE = """
from dataclasses import replace
from grantledger.domain.grant_events import GRANT_EVENTS, Erased
from grantledger.domain.values import FailureClass
from tests.domain.arrange import Case, ONCE, RULES, consent, failure, replay

case = Case(ONCE, replace(consent(access="at1"), refresh_expires_at=None))
case.rotated("rt2", "at2")
case.gave_back("at1")
first = case.lost()
retry = case.intend()
case.answered(first, case.ok("rt3", "at3"))
case.refused(retry)
case.failed(case.intend(), failure(FailureClass.AMBIGUOUS))
case.failed(case.intend(), failure(FailureClass.AMBIGUOUS))
case.consented(consent("rt9", "at9"))
case.stored("rt10", case.at)
case.grant.expire(case.ctx())
case.revoked()
case.server_says("rt10")
case.server_says("rt3", failure(FailureClass.TRANSIENT))
case.server_says("at9", failure(FailureClass.UNSUPPORTED))
case.grant.record(Erased, case.ctx(), reason="request", receipt="r-1")
case.news()
assert replay(case.history).state == case.state
print("events:", {type(e) for e in case.history} == set(GRANT_EVENTS))
"""


def run(code: str) -> list[str]:
    return subprocess.run(
        [sys.executable, "-P", "-c", code],
        check=True,
        capture_output=True,
        text=True,
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    ).stdout.splitlines()


def test_the_traps_catch_the_library_s_own_defaults() -> None:
    assert run(TRAPS + LIBRARY) == [
        "trapped: eventsourcing.domain called datetime.now",
        "trapped: eventsourcing.domain called uuid.uuid4",
        "trapped: eventsourcing.domain called datetime.now",
    ]


def test_no_event_of_a_whole_life_takes_a_default() -> None:
    assert run(TRAPS + LIFE) == ["events: True"]
