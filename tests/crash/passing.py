"""The points that a process passes: written down, and at one of them it dies."""

from __future__ import annotations

import os
import signal
from collections import Counter
from pathlib import Path


class Passing:
    """Writes every point that is passed to a file, and dies at the one named.

    A point is a step (a call of a port, the second of its kind `#2`) and a place in
    it. What is written survives: the page cache is not the process's. Nothing
    counts before `arm`.

    Args:
        trace: the file; others may write to it as well.
        target: where to die, empty for nowhere.
    """

    def __init__(self, trace: Path, target: str = "") -> None:
        flags = os.O_CREAT | os.O_APPEND | os.O_WRONLY
        self._file = os.open(trace, flags, 0o600)
        self._target = target
        self._steps: Counter[str] = Counter()
        self._step = ""
        self.armed = False

    def arm(self) -> None:
        """Count from now on."""
        self.armed = True

    def step(self, name: str) -> None:
        """Begin a step."""
        if self.armed:
            self._steps[name] += 1
            number = self._steps[name]
            self._step = name if number == 1 else f"{name} #{number}"
            self.at("called")

    def at(self, place: str) -> None:
        """Pass a place in the step."""
        if self.armed:
            point = f"{self._step}: {place}"
            os.write(self._file, f"{point}\n".encode())
            if point == self._target:
                os.kill(os.getpid(), signal.SIGKILL)


def passed(trace: Path) -> list[str]:
    """Return the points that were passed, oldest first."""
    if not trace.exists():
        return []
    return trace.read_text(encoding="utf-8").splitlines()
