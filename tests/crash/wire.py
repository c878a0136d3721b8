"""The wire between a broker and its server: where a process can die of silence.

A request passes three places: `received` (whole, and the server has not seen it),
`answered` (the server has acted, and nothing is on its way back) and `half` (half of
the answer's body is). The proxy writes them into the process's own trace, and kills
the process at the one that is its target.
"""

from __future__ import annotations

import os
import queue
import signal
from pathlib import Path

from grantledger.adapters.devserver import DevServer
from tests.crash.passing import passed
from tests.support.fault_proxy import FaultProxy
from tests.support.faults import Fault, Hold

PATHS = {
    "metadata": "openid-configuration",
    "keys": "/jwks",
    "token": "/token",
    "revocation": "/revoke",
}
ASKING = {"code", "exchange", "redeem", "revoke", "verify"}
"""The steps that ask a server; one at a time does."""

CALLED = ": called"
PID_SECONDS = 10.0


class Victim:
    """The process whose requests pass now.

    Args:
        trace: where its points are written.
        target: the point to die at.
    """

    def __init__(self, trace: Path, target: str) -> None:
        self._trace = trace
        self._target = target
        self._pids: queue.Queue[int] = queue.Queue()

    def is_process(self, pid: int) -> None:
        """Say which process it is."""
        self._pids.put(pid)

    def passes(self, place: str) -> bool:
        """Note a place; tell whether the process was killed there."""
        points = reversed(passed(self._trace).points)
        calls = (p.removesuffix(CALLED) for p in points if p.endswith(CALLED))
        step = next((call for call in calls if call.split(" ")[0] in ASKING), None)
        if step is None:
            return False  # still in the life before its operation
        point = f"{step}: {place}"
        with self._trace.open("a", encoding="utf-8") as file:
            file.write(f"{point}\n")
        if point != self._target:
            return False
        os.kill(self._pids.get(timeout=PID_SECONDS), signal.SIGKILL)
        return True


class Wire:
    """A proxy before one server that knows whose requests pass."""

    def __init__(self, server: DevServer) -> None:
        self.proxy = FaultProxy(server.issuer)
        self.victim: Victim | None = None
        for name, suffix in PATHS.items():
            self.proxy.plan(suffix, self._fault(name), times=1 << 30)

    def _fault(self, name: str) -> Fault:
        def act(hold: Hold) -> None:
            victim = self.victim
            if victim is None:
                hold.send(hold.forward())
                return
            if victim.passes(f"{name} received"):
                return
            answer = hold.forward()
            if victim.passes(f"{name} answered"):
                return
            if not answer.body:
                hold.send(answer)
                return
            hold.send_in_halves(answer, lambda: victim.passes(f"{name} half"))

        return Fault(name, act)
