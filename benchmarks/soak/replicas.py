"""`grantledger serve` processes: started, sampled, killed, ended."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO

from benchmarks.soak.seen import Kill, Sample

COMMAND = str(Path(sys.executable).with_name("grantledger"))
START_SECONDS = 180.0
END_SECONDS = 60.0
ESTABLISHED = "01"
_PAGE = os.sysconf("SC_PAGE_SIZE")
_TICK = os.sysconf("SC_CLK_TCK")


@dataclass
class Replica:
    """One process at a time.

    Attributes:
        apart: its spool and guard are its own, as on a machine of its own.
        url: where it answers, None while it does not.
        life: how often it was started before.
    """

    number: int
    config: Path
    folder: Path
    apart: bool
    url: str | None = None
    life: int = -1
    _process: subprocess.Popen[str] | None = field(default=None, repr=False)
    _listener: threading.Thread | None = field(default=None, repr=False)

    @property
    def node(self) -> str:
        """What its events call it."""
        return f"soak-{self.number}.{self.life}"

    @property
    def spool(self) -> Path:
        """Where its untaken answers would wait."""
        if self.apart:
            return self.folder / f"spool-{self.number}"
        return self.config.with_name("grantledger.spool")

    async def start(self) -> None:
        """Start it, and return when it listens.

        Raises:
            RuntimeError: it ended, or said nothing.
        """
        self.life += 1
        said = {"BROKER__NODE": self.node}
        if self.apart:
            said["LEDGER__SPOOL"] = str(self.spool)
            said["LEDGER__GUARD"] = str(self.folder / f"guard-{self.number}")
        more = {f"GRANTLEDGER__{name}": json.dumps(v) for name, v in said.items()}
        self._process = await asyncio.to_thread(
            subprocess.Popen,
            [COMMAND, "serve", "--config", str(self.config)],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            env={**os.environ, "PYTHONUNBUFFERED": "1", **more},
        )
        out = self._process.stdout
        assert out is not None
        async with asyncio.timeout(START_SECONDS):
            line = await asyncio.to_thread(out.readline)
        self._keep(line)
        where = line.split()
        if not where or not where[-1].startswith("http://"):
            raise RuntimeError(f"{self.node} did not start: {self.words()[-5:]}")
        self.url = where[-1]
        self._listener = threading.Thread(target=self._listen, args=[out], daemon=True)
        self._listener.start()

    async def kill(self) -> Kill:
        """End it by SIGKILL, and start it again."""
        assert self._process is not None
        node, at = self.node, time.monotonic()
        self._process.kill()
        self.url = None
        await asyncio.to_thread(self._process.wait)
        self._close()
        await self.start()
        return Kill(at, self.number, node, time.monotonic())

    async def end(self) -> int:
        """End it in order; return its exit code."""
        assert self._process is not None
        self.url = None
        self._process.send_signal(signal.SIGTERM)
        code = await asyncio.to_thread(self._process.wait, END_SECONDS)
        self._close()
        return code

    def abandon(self) -> None:
        """End whatever is left of it, at once."""
        if self._process is not None and self._process.poll() is None:
            self._process.kill()
            self._process.wait()

    def sample(self) -> Sample | None:
        """Return how it stands; None while it is not there."""
        process = self._process
        if self.url is None or process is None:
            return None
        there = Path(f"/proc/{process.pid}")
        try:
            pages = int((there / "statm").read_text().split()[1])
            # The name, in brackets, may hold blanks.
            stat = (there / "stat").read_text().rpartition(")")[2].split()
            callers = connections_to(int(self.url.rpartition(":")[2]))
            held = [str(one.readlink()) for one in (there / "fd").iterdir()]
            return Sample(
                at=time.monotonic(),
                replica=self.number,
                life=self.life,
                rss=pages * _PAGE,
                descriptors=sum(one not in callers for one in held),
                callers=sum(one in callers for one in held),
                threads=int(stat[17]),
                cpu=(int(stat[11]) + int(stat[12])) / _TICK,
            )
        except (FileNotFoundError, ProcessLookupError):
            return None  # it, or a file of its, has just gone

    def words(self) -> list[str]:
        """Return what it said, line by line, in all of its lives."""
        there = self._words
        return there.read_text(encoding="utf-8").splitlines() if there.exists() else []

    @property
    def _words(self) -> Path:
        return self.folder / f"replica-{self.number}.log"

    def _keep(self, line: str) -> None:
        with self._words.open("a", encoding="utf-8") as words:
            words.write(line)

    def _listen(self, out: IO[str]) -> None:
        for line in out:
            self._keep(line)

    def _close(self) -> None:
        """Read the last of what it said."""
        if self._listener is not None:
            self._listener.join(END_SECONDS)
        if self._process is not None and self._process.stdout is not None:
            self._process.stdout.close()


def connections_to(port: int) -> frozenset[str]:
    """Return the established connections to a port of this machine, as descriptors."""
    rows = [one.split() for one in Path("/proc/net/tcp").read_text().splitlines()[1:]]
    return frozenset(
        f"socket:[{row[9]}]"
        for row in rows
        if row[1].endswith(f":{port:04X}") and row[3] == ESTABLISHED
    )
