"""The points that a process passes: written down, and at one of them it dies."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

ARMED = "armed at "


class Passing:
    """Writes every point that is passed to a file, and dies at the one named.

    A point is a step (a call of a port, the second of its kind `#2`) and a place in
    it. What is written survives: the page cache is not the process's. Nothing
    counts before `arm`.

    Args:
        trace: the file; others may write to it as well.
        target: where to die, empty for nowhere.
        delay_seconds: to die so long after `arm`, wherever that is; 0 for not.
    """

    def __init__(
        self, trace: Path, target: str = "", delay_seconds: float = 0.0
    ) -> None:
        flags = os.O_CREAT | os.O_APPEND | os.O_WRONLY
        self._file = os.open(trace, flags, 0o600)
        self._target = target
        self._delay_seconds = delay_seconds
        self._steps: Counter[str] = Counter()
        self._writing = ""
        self.armed = False

    def arm(self, version: int, printed: int) -> None:
        """Count from now on.

        Args:
            version: of the grant, so that what comes later is the operation's.
            printed: how many tokens have left so far.
        """
        os.write(self._file, f"{ARMED}{version} {printed}\n".encode())
        self.armed = True
        if self._delay_seconds:
            threading.Thread(target=self._die_later, daemon=True).start()

    def _die_later(self) -> None:
        time.sleep(self._delay_seconds)
        die()

    def step(self, name: str, *, writes: bool = False, apart: bool = False) -> str:
        """Begin a step, and return its name; the next transaction belongs to it.

        `writes`: it is one that has a transaction. Tasks may run side by side, but
        one writes at a time. `apart`: what it writes is no part of the record, so the
        places in its transaction are not named.
        """
        if not self.armed:
            return name
        self._steps[name] += 1
        number = self._steps[name]
        step = name if number == 1 else f"{name} #{number}"
        if writes or apart:
            self._writing = step if writes else ""
        self.at(step, "called")
        return step

    def writing(self, place: str) -> None:
        """Pass a place in the transaction of the step that writes."""
        if self._writing:
            self.at(self._writing, place)

    def at(self, step: str, place: str) -> None:
        """Pass a place in a step."""
        if self.armed:
            point = f"{step}: {place}"
            os.write(self._file, f"{point}\n".encode())
            if point == self._target:
                die()


def die() -> None:
    """End this process as a power cut would."""
    os.kill(os.getpid(), signal.SIGKILL)


@dataclass(frozen=True)
class Trace:
    """What a process has passed.

    Attributes:
        version: of the grant before the operation, None if it did not get so far.
        printed: tokens that had left before it.
        points: oldest first.
    """

    version: int | None
    printed: int
    points: tuple[str, ...]

    def of_step(self, step: str) -> set[str]:
        """Return the places that were passed in a step."""
        return {
            place
            for name, _, place in (point.rpartition(": ") for point in self.points)
            if name == step
        }


def passed(trace: Path) -> Trace:
    """Return what a process has passed."""
    lines = trace.read_text(encoding="utf-8").splitlines() if trace.exists() else []
    if not lines:
        return Trace(None, 0, ())
    version, printed = lines[0].removeprefix(ARMED).split()
    return Trace(int(version), int(printed), tuple(lines[1:]))
