"""A child that does nothing: `python -m tests.http.stand_in <log> <number> [<mode>]`.

Each start, signal and end is a line of the log. It ends by SIGTERM, or when its
standard input does; with mode `fails` at its start, with `sulks` at every start but the
first.
"""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path


def main() -> None:
    log, number, mode = Path(sys.argv[1]), sys.argv[2], sys.argv[3]

    def note(text: str) -> None:
        with log.open("a") as file:
            file.write(f"{number} {text} {os.getpid()}\n")

    before = log.exists() and f"{number} started" in log.read_text()
    note("started")
    if mode == "fails" or (mode == "sulks" and before):
        sys.exit(60)

    def ended(*_: object) -> None:
        note("ended")
        sys.exit(0)

    signal.signal(signal.SIGTERM, ended)

    def reread(*_: object) -> None:
        note("reread")

    signal.signal(signal.SIGHUP, reread)
    sys.stdout.write("ready\n")
    sys.stdout.flush()
    while sys.stdin.buffer.read(1):
        pass
    note("orphaned")


if __name__ == "__main__":
    main()
