"""Whether history is whole: both verifiers, and every checkpoint that was fetched."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator, Sequence
from pathlib import Path

from benchmarks.soak.ground import Ground
from benchmarks.soak.log import Log
from benchmarks.soak.promises import doubted, forked
from benchmarks.soak.replicas import COMMAND
from benchmarks.soak.seen import Fetched
from grantledger.projections.transparency import CompactRange
from grantledger.projections.verify.findings import Refuted
from grantledger.projections.verify.notes import (
    Trust,
    check_signatures,
    read_keys,
    read_note,
)

VERIFY = COMMAND + "-verify"
OLDER = 5
"""So many of the fetched checkpoints are given to `grantledger-verify` as older ones;
the roots of all are compared here."""
PASSES_SECONDS = 600.0


def exported(ground: Ground) -> Path:
    """Export the log as tiles; return the directory.

    Raises:
        RuntimeError: it cannot be.
    """
    folder = ground.folder / "tiles"
    line = [COMMAND, "log", "export", str(folder), "--config", str(ground.config)]
    if fault := _run(line):
        raise RuntimeError(fault)
    return folder


def broken(
    ground: Ground, tiles: Path, log: Log, fetched: Sequence[Fetched]
) -> list[str]:
    """Return what is not whole."""
    checkpoints, found = checkpoints_of(fetched, tiles / "keys.txt")
    roots = list(_roots(log.hashes))
    # What the export's own checkpoint says of the bytes beside it.
    end = read_note((tiles / "checkpoint").read_bytes(), "checkpoint")
    found += forked([*checkpoints, (end.size, end.root)], roots)
    found += doubted(log.outages)
    return found + _verifiers(ground, tiles, fetched)


def checkpoints_of(
    fetched: Sequence[Fetched], keys: Path
) -> tuple[list[tuple[int, bytes]], list[str]]:
    """Return size and root of each checkpoint, and those that the log did not sign."""
    trust = Trust(read_keys(keys.read_text("utf-8").splitlines()))
    checkpoints: list[tuple[int, bytes]] = []
    found: list[str] = []
    for number, one in enumerate(fetched):
        where = f"checkpoint {number}, of replica {one.replica}"
        try:
            note = read_note(one.note, where)
            check_signatures(note, trust, where)
        except Refuted as fault:
            found.append(str(fault.finding))
        else:
            checkpoints.append((note.size, note.root))
    return checkpoints, found


def _roots(hashes: Sequence[bytes]) -> Iterator[bytes]:
    tree = CompactRange()
    yield tree.root()
    for one in hashes:
        tree.append(one)
        yield tree.root()


def _verifiers(ground: Ground, tiles: Path, fetched: Sequence[Fetched]) -> list[str]:
    """Run both in processes of their own, the second as somebody without a broker."""
    lines = [[COMMAND, "verify", "--config", str(ground.config)]]
    step = max(1, len(fetched) // OLDER)
    for number, one in enumerate(fetched[::step]):
        older = ground.folder / f"older-{number}.checkpoint"
        older.write_bytes(one.note)
        keys = str(tiles / "keys.txt")
        line = [VERIFY, "tiles", str(tiles), "--keys", keys, "--older", str(older)]
        lines.append(line)
    return [fault for line in lines if (fault := _run(line))]


def _run(line: Sequence[str]) -> str:
    """Run a command; return what it said where it failed, else nothing."""
    done = subprocess.run(  # noqa: S603 - our own line
        line, capture_output=True, text=True, timeout=PASSES_SECONDS, check=False
    )
    if not done.returncode:
        return ""
    said = (done.stdout + done.stderr).strip()[-1000:]
    return f"{Path(line[0]).name} {line[1]}: exit code {done.returncode}: {said}"
