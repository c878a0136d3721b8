"""Processor time that a round took, on both sides of the connection (Linux)."""

from __future__ import annotations

import os
from pathlib import Path

import psycopg

TICKS = os.sysconf("SC_CLK_TCK")
# https://man7.org/linux/man-pages/man5/proc_pid_stat.5.html, counted from the state
_PARENT, _OWN, _WITH_CHILDREN = 1, slice(11, 13), slice(11, 15)


def _stat(pid: int | str) -> list[str]:
    text = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8")
    return text.rpartition(")")[2].split()


class ServerTime:
    """The processor time of a server on this machine, ended processes included."""

    def __init__(self, dsn: str) -> None:
        with psycopg.connect(dsn) as connection:
            backend = connection.info.backend_pid
            self._postmaster = _stat(backend)[_PARENT]

    def seconds(self) -> float:
        """Return what it has taken so far."""
        ticks = sum(map(int, _stat(self._postmaster)[_WITH_CHILDREN]))
        for each in Path("/proc").glob("[0-9]*"):
            try:
                said = _stat(each.name)
            except (FileNotFoundError, ProcessLookupError):
                continue  # it has just ended
            if said[_PARENT] == self._postmaster:
                ticks += sum(map(int, said[_OWN]))
        return ticks / TICKS


def client_seconds() -> float:
    """Return what this process has taken so far, ended children included."""
    return sum(os.times()[:4])
