"""The log as it was exported, leaf by leaf: JSON and hashes, and no broker.

The directory is one of tiles (C2SP tlog-tiles), as `grantledger log export` writes it.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path
from typing import Any

HASH_BYTES = 32
LENGTH_BYTES = 2
TILE_WIDTH = 256
HANDED_OUT = "handed_out"
OUTAGE = "grantledger.ledger.checkpoint-failed."
PROVISIONED, REVOKED, EXCHANGED = "provisioned", "revoked", "exchanged"


@dataclass(frozen=True, slots=True)
class Line:
    """An event of a grant, or one hand-out of it.

    Attributes:
        leaf: its place in the log.
        kind: the event's name, such as `revoked`, or HANDED_OUT.
        version: the event's own, or the one that the hand-out was decided on.
        generation: where it is said.
        token_ref: version of the event that a hand-out's token came with.
        moment: when it occurred, as written.
    """

    leaf: int
    grant: str
    kind: str
    version: int
    generation: int = 0
    token_ref: int = 0
    request: str = ""
    caller: str = ""
    moment: str = ""


@dataclass(frozen=True, slots=True)
class Log:
    """What was read.

    Attributes:
        lines: of all grants, in the order of the log.
        hashes: of every leaf (RFC 6962 section 2.1), made from its bytes.
        outages: leaf and cause of each outage of checkpoints.
    """

    lines: list[Line] = field(default_factory=list[Line])
    hashes: list[bytes] = field(default_factory=list[bytes])
    outages: list[tuple[int, str]] = field(default_factory=list[tuple[int, str]])


def read_log(folder: Path) -> Log:
    """Return what a directory of tiles says of grants."""
    log = Log()
    for leaf, data in enumerate(leaves_of(folder)):
        log.hashes.append(sha256(b"\x00" + data).digest())
        said: dict[str, Any] = json.loads(data)
        log.lines.extend(lines_of(leaf, said))
        if said["type"].startswith(OUTAGE):
            log.outages.append((leaf, said["fields"]["cause"]))
    return log


def leaves_of(folder: Path) -> Iterator[bytes]:
    """Yield the bytes of every leaf that the directory's checkpoint covers."""
    size = int((folder / "checkpoint").read_text("utf-8").split("\n")[1])
    for number in range(-(-size // TILE_WIDTH)):
        width = min(TILE_WIDTH, size - number * TILE_WIDTH)
        data = (folder / "tile" / "entries" / _name(number, width)).read_bytes()
        for _ in range(width):
            length = int.from_bytes(data[:LENGTH_BYTES], "big")
            end = LENGTH_BYTES + length
            yield data[LENGTH_BYTES:end]
            data = data[end:]


def lines_of(leaf: int, said: dict[str, Any]) -> Iterator[Line]:
    """Yield what a leaf says of grants."""
    topic = said["type"].split(".")
    if topic[1] == "journal":
        for entry in said["entries"]:
            if entry["outcome"] != HANDED_OUT:
                continue
            yield Line(
                leaf=leaf,
                grant=entry["grant_id"].replace("-", ""),
                kind=HANDED_OUT,
                version=entry["grant_version"],
                generation=entry["generation"],
                token_ref=entry.get("token_ref", 0),
                request=entry["request_id"],
                caller=entry["caller"],
                moment=entry["at"],
            )
    elif topic[1] == "user-grant":
        fields = said["fields"]
        yield Line(
            leaf=leaf,
            grant=said["stream"].replace("-", ""),
            kind=topic[2],
            version=said["stream_seq"],
            generation=fields.get("generation", 0),
            moment=fields.get("occurred_at", ""),
        )


def _name(number: int, width: int) -> str:
    parts = [f"{number % 1000:03}"]
    while number := number // 1000:
        parts.append(f"x{number % 1000:03}")
    partial = "" if width == TILE_WIDTH else f".p/{width}"
    return "/".join(reversed(parts)) + partial
