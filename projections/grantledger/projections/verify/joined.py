"""The parts of a log, put together: the tree, the streams, and what is gone.

Whatever a log is read from ends here: what only the whole of it tells is decided once.
"""

from __future__ import annotations

from array import array
from collections.abc import Collection, Iterable, Sequence
from typing import Any

from grantledger.projections.verify.findings import Findings, shown
from grantledger.projections.verify.merkle import BLOCK_LEVEL, Tree
from grantledger.projections.verify.notes import Note
from grantledger.projections.verify.scan import Missing, Scan
from grantledger.projections.verify.streams import Stream, Streams


class Joined:
    """A log as far as it was read.

    Args:
        wanted: sizes at which the root is asked for.
        findings: what does not hold is added here.

    Attributes:
        roots: by those of the sizes that were reached.
        whole: no leaf is missing, so that the tree is that of the log.
        missing: sealed parts that are not there, by grant.
        pruned: leaves without bytes.
    """

    def __init__(self, wanted: Collection[int], findings: Findings) -> None:
        self.tree = Tree()
        self.streams = Streams()
        self.roots: dict[int, bytes] = {}
        self.whole = True
        self.sealed = 0
        self.missing: Missing = {}
        self.pruned: array[int] = array("Q")
        self._wanted = frozenset(wanted)
        self._findings = findings
        self._remember()

    def add(self, scan: Scan) -> None:
        """Add the next part."""
        self.whole = self.whole and scan.whole
        self.sealed += scan.sealed
        self.pruned += scan.pruned
        if self.whole:
            for block in scan.blocks:
                if isinstance(block, bytes):
                    self.tree.append(block, BLOCK_LEVEL)
                    self._remember()
                else:
                    self.grow(block)
        self._findings.extend(scan.findings)
        self.streams.join(scan.streams, self._findings)
        for grant, (where, count) in scan.missing.items():
            first, before = self.missing.get(grant, (where, 0))
            self.missing[grant] = (first, before + count)

    def grow(self, hashes: Iterable[bytes]) -> None:
        """Add leaves by their hashes."""
        for hashed in hashes:
            self.tree.append(hashed)
            self._remember()

    def _remember(self) -> None:
        if self.tree.size in self._wanted:
            self.roots[self.tree.size] = self.tree.root()

    def finish(self) -> None:
        """Check what only the whole log tells: first versions, and what is gone."""
        findings, streams = self._findings, self.streams
        streams.check_first(findings)
        covered = streams.covered
        for index in self.pruned:
            if index >= covered:
                findings.add(
                    f"leaf {index}", "has no bytes, and no Pruned event covers it"
                )
        told = sum(pruning.leaves for pruning in streams.prunings)
        if len(self.pruned) > told:
            findings.add(
                "stored_events",
                f"{len(self.pruned)} leaves have no bytes; "
                f"the Pruned events say {told}",
            )
        for grant, (where, count) in self.missing.items():
            if not streams.erased(grant):
                at, _, what = where.partition(": ")
                more = f", and {count - 1} more of it" if count > 1 else ""
                findings.add(
                    at, f"{what}; no event says that grant {grant} is erased{more}"
                )

    def check_grants(self, rows: Iterable[Sequence[Any]]) -> None:
        """See that each row of the current grants is what its stream has come to.

        Args:
            rows: grant, version, leaf index, status, generation and provider.
        """
        waiting = self.streams.grants()
        for row in rows:
            _check_grant(row, waiting.pop(row[0], None), self._findings)
        for grant, stream in waiting.items():
            self._findings.add(
                f"current_grants {grant}",
                f"there is no row; its newest event is leaf {stream.leaf}",
            )

    def check_older(self, size: int, older: Sequence[Note]) -> None:
        """See that the log begins with what each checkpoint covers.

        Args:
            size: of the log.
            older: checkpoints whose signatures were checked.
        """
        for note in older:
            where = f"checkpoint of {note.size} leaves"
            found = self.roots.get(note.size)
            lost = _lost(self.streams, note)
            if lost is not None:
                self._findings.add(
                    where,
                    f"the log was continued from {lost} leaves at another origin: "
                    f"leaves {lost} to {note.size - 1} are lost",
                )
            elif note.size > size:
                self._findings.add(
                    where,
                    f"the ledger has {size}: it is an older copy, or has lost "
                    f"leaves {size} to {note.size - 1}",
                )
            elif found is None:
                self._findings.add(where, "cannot be compared while leaves are missing")
            elif found != note.root:
                self._findings.add(
                    where,
                    f"leaves 0 to {note.size - 1} are not those it covers: their root "
                    f"is {found.hex()}, not {note.root.hex()}; the log is a fork or "
                    "was rewritten",
                )


def _check_grant(row: Sequence[Any], stream: Stream | None, findings: Findings) -> None:
    grant, said = row[0], row[1:]
    where = f"current_grants {grant}"
    if stream is None:
        findings.add(where, "no event speaks of this grant")
        return
    meant = (
        stream.last,
        stream.leaf,
        said[2] if stream.unknown else stream.status,
        stream.generation,
        stream.provider,
    )
    names = ("version", "leaf_index", "status", "generation", "provider")
    for name, found, right in zip(names, said, meant, strict=True):
        if found != right:
            findings.add(
                where,
                f"its {name} is {shown(found)}; its events, the newest of them "
                f"leaf {stream.leaf}, say {shown(right)}",
            )


def _lost(streams: Streams, note: Note) -> int | None:
    """Return at how many leaves the checkpoint's origin was left, if before its."""
    for continuation in streams.continuations:
        if continuation.previous == note.origin and note.size > continuation.found_size:
            return continuation.found_size
    return None
