"""An evidence bundle: leaves, what proves them, and what was opened of them.

A directory or a zip of one; `manifest.json` names every other file with its SHA-256.
What it proves are the leaves, and that opened fields are what those leaves commit to.
The words in `events.ndjson` and `report.html` are the maker's; rows are compared with
their leaves where both say the same thing in the clear.
"""

from __future__ import annotations

import base64
import hmac
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from hashlib import sha256
from typing import Any

from grantledger.projections.verify import fields
from grantledger.projections.verify.findings import Findings, Refuted, shown
from grantledger.projections.verify.folder import Folder
from grantledger.projections.verify.leaves import (
    GRANT_TOPICS,
    OF_EVENT,
    PRUNED,
    Leaf,
    read_leaf,
)
from grantledger.projections.verify.merkle import (
    NotProven,
    Tree,
    leaf_hash,
    range_tree,
)
from grantledger.projections.verify.notes import Note
from grantledger.projections.verify.proof import (
    MAX_PROOF_BYTES,
    check_proof,
    read_proof,
)
from grantledger.projections.verify.whole import Whole, read_time

FORMAT = "grantledger-evidence/v1"
MANIFEST = "manifest.json"
CHECKPOINT = "checkpoint"
KEYS = "keys.txt"
LEAVES = "leaves.ndjson"
RANGES = "ranges.json"
OPENED = "opened.ndjson"
EVENTS = "events.ndjson"
_NEEDED = (CHECKPOINT, LEAVES, RANGES)
_SAID_BY_BOTH = (
    "recorded_at",
    "occurred_at",
    "caller",
    "provider",
    "request_id",
    "generation",
    "grant_id",
    "stream",
    "stream_seq",
)
_IDS = frozenset(("grant_id", "stream"))
MAX_MANIFEST_BYTES = 1 << 28
MAX_RANGES_BYTES = 1 << 26


@dataclass(slots=True)
class BundleReport:
    """What was checked.

    Attributes:
        complete: the ranges alone answer what was asked, and reach as far as asked.
        bare: leaves of which only the hash is there.
        untold: those of them at which nothing tells whether the range reaches so far.
        before: the tree before each range, to compare older checkpoints with.
    """

    leaves: int = 0
    ranges: list[tuple[int, int]] = field(default_factory=list[tuple[int, int]])
    single: int = 0
    opened: int = 0
    rows: int = 0
    files: int = 0
    bare: list[int] = field(default_factory=list[int])
    untold: list[int] = field(default_factory=list[int])
    complete: bool = False
    asked: Mapping[str, Any] = field(default_factory=dict[str, Any])
    roots: dict[int, bytes] = field(default_factory=dict[int, bytes])


def check_files(folder: Folder) -> Mapping[str, Any]:
    """Return the manifest; every file is there, is as it says, and no other is.

    Raises:
        Refuted: names the file that is not.
    """
    said = fields.mapping(folder.json(MANIFEST, MAX_MANIFEST_BYTES), MANIFEST)
    if said.get("format") != FORMAT:
        raise Refuted(MANIFEST, f"is not of the form {FORMAT}")
    files = fields.mapping(said.get("files"), f"{MANIFEST} files")
    there = set(folder.names()) - {MANIFEST}
    for name in sorted(there - files.keys()):
        raise Refuted(shown(name), "stands in no manifest")
    for name in (*_NEEDED, *sorted(files)):
        if name not in there:
            raise Refuted(shown(name), "is missing")
    for name in sorted(there):
        told = files[name]
        digest, size = sha256(), 0
        for part in folder.chunks(name):
            digest.update(part)
            size += len(part)
        if told != {"sha256": digest.hexdigest(), "bytes": size}:
            raise Refuted(shown(name), "is not the file that the manifest names")
    return said


def check_bundle(
    folder: Folder,
    manifest: Mapping[str, Any],
    note: Note,
    older: Sequence[int],
    findings: Findings,
) -> BundleReport:
    """Check that the leaves are in the log, and the rest against the leaves.

    Args:
        folder: whose files were checked.
        manifest: its own.
        note: its checkpoint, whose signatures were checked.
        older: sizes whose roots are to be told where the ranges tell them.
        findings: what does not hold is added here.

    Raises:
        Refuted: something is so wrong that the rest means nothing.
    """
    return _Bundle(folder, manifest, note, older, findings).run()


class _Bundle:
    def __init__(
        self,
        folder: Folder,
        manifest: Mapping[str, Any],
        note: Note,
        older: Sequence[int],
        findings: Findings,
    ) -> None:
        self._folder = folder
        self._manifest = manifest
        self._note = note
        self._older = older
        self._findings = findings
        self._hashes: dict[int, bytes] = {}
        self._bytes: dict[int, bytes] = {}
        self._proven: set[int] = set()
        self._report = BundleReport(files=len(manifest["files"]))

    def run(self) -> BundleReport:
        self._same_checkpoint()
        for where, said in self._folder.lines(LEAVES):
            self._leaf(where, said)
        self._ranges()
        self._single()
        for index in sorted(self._hashes.keys() - self._proven):
            self._findings.add(f"leaf {index}", "nothing proves it")
        self._explain()
        report = self._report
        report.leaves = len(self._hashes)
        report.complete = self._manifest.get("complete") is True
        if report.complete and (report.single or not report.ranges):
            self._findings.add(MANIFEST, "calls complete what no range proves to be so")
        report.asked = fields.mapping(self._manifest.get("asked"), f"{MANIFEST} asked")
        if report.complete and report.ranges:
            whole = Whole(self._parsed, self._bytes, report.asked, self._findings)
            report.untold = whole.check(*report.ranges[0], self._note.size)
            report.complete = not report.untold
        if self._folder.has(OPENED):
            for where, said in self._folder.lines(OPENED):
                self._opened(where, said)
        if self._folder.has(EVENTS):
            for where, said in self._folder.lines(EVENTS):
                self._event(where, said)
        return report

    def _same_checkpoint(self) -> None:
        note, told = self._note, self._manifest
        said = (told.get("origin"), told.get("size"), told.get("root"))
        if said != (note.origin, note.size, base64.b64encode(note.root).decode()):
            raise Refuted(
                MANIFEST, "names another origin, size or root than checkpoint"
            )

    def _leaf(self, where: str, said: Mapping[str, Any]) -> None:
        index = fields.index(said.get("index"), where)
        if index >= self._note.size:
            raise Refuted(where, f"{shown(index)} is no leaf of the checkpoint")
        if self._hashes and index <= next(reversed(self._hashes)):
            raise Refuted(where, f"leaf {index} is out of order")
        if ("leaf" in said) == ("leaf_hash" in said):
            raise Refuted(where, f"leaf {index} has its bytes or its hash, one of them")
        if "leaf" in said:
            self._bytes[index] = leaf = fields.octets(said["leaf"], where)
            if not leaf:
                raise Refuted(where, f"leaf {index} is empty")
            self._hashes[index] = leaf_hash(leaf)
        else:
            self._hashes[index] = fields.hashed(said.get("leaf_hash"), where)
            self._report.bare.append(index)

    def _ranges(self) -> None:
        told = fields.listed(self._folder.json(RANGES, MAX_RANGES_BYTES), RANGES)
        for number, said in enumerate(told):
            where = f"{RANGES} number {number}"
            self._range(where, fields.mapping(said, where))
        named = [list(each) for each in self._report.ranges]
        if self._manifest.get("ranges") != named:
            raise Refuted(MANIFEST, f"names other ranges than {RANGES}")

    def _range(self, where: str, said: Mapping[str, Any]) -> None:
        start, end = (fields.index(said.get(name), where) for name in ("from", "to"))
        outside = [
            fields.hashed(each, where)
            for each in fields.listed(said.get("hashes"), where)
        ]
        if not start < end <= self._note.size:
            raise Refuted(where, "is no range of the checkpoint")
        if self._report.ranges and start < self._report.ranges[-1][1]:
            raise Refuted(where, f"leaf {start} is before the end of the one before")
        inside: list[bytes] = []
        for index in range(start, end):
            hashed = self._hashes.get(index)
            if hashed is None:
                raise Refuted(
                    f"leaf {index}", f"is missing from leaves {start} to {end - 1}"
                )
            inside.append(hashed)
        try:
            before, root = range_tree(start, inside, self._note.size, outside)
        except NotProven as cause:
            raise Refuted(where, str(cause)) from None
        if root != self._note.root:
            raise Refuted(
                f"leaves {start} to {end - 1}",
                "are not all that the log has there: they lead to another root than "
                "the checkpoint's",
            )
        self._remember(before, inside)
        self._proven.update(range(start, end))
        self._report.ranges.append((start, end))

    def _explain(self) -> None:
        """See that each leaf without bytes is one that was pruned, as a leaf says."""
        covered = 0
        for index, data in self._bytes.items() if self._report.bare else ():
            if PRUNED.encode() not in data:
                continue
            leaf = self._parsed(index, f"leaf {index}")
            if leaf.topic == PRUNED and index in self._proven:
                below = fields.index(leaf.fields.get("below"), f"leaf {index}")
                covered = max(covered, min(index, below))
        for index in self._report.bare:
            if index >= covered:
                self._findings.add(
                    f"leaf {index}", "has no bytes, and no Pruned event here covers it"
                )

    def _remember(self, tree: Tree, inside: Sequence[bytes]) -> None:
        """Tell the roots of older trees that end before or in a range."""
        end = tree.size + len(inside)
        wanted = sorted(size for size in self._older if tree.size <= size <= end)
        at = 0
        for size in wanted:
            upto = at + size - tree.size
            tree.extend(inside[at:upto])
            at = upto
            self._report.roots[size] = tree.root()

    def _single(self) -> None:
        told = fields.listed(self._manifest.get("single"), f"{MANIFEST} single")
        for index in (fields.index(each, f"{MANIFEST} single") for each in told):
            if index in self._proven:
                raise Refuted(f"{MANIFEST} single", f"leaf {index} is proven already")
            name = f"proofs/{index}.tlog-proof"
            proof = read_proof(self._folder.read(name, MAX_PROOF_BYTES), name)
            hashed = self._hashes.get(index)
            if hashed is None or proof.index != index:
                raise Refuted(name, f"is of leaf {proof.index}, which is not here")
            if proof.note.text != self._note.text:
                raise Refuted(name, "is under another checkpoint")
            check_proof(proof, hashed, name)
            self._proven.add(index)
        self._report.single = len(told)

    def _opened(self, where: str, said: Mapping[str, Any]) -> None:
        index, entry, name = (said.get(key) for key in ("index", "entry", "field"))
        at = f"{where} (leaf {shown(index)}, field {shown(name)})"
        leaf = self._parsed(index, at)
        refs = {(ref.entry, ref.field): ref for ref in leaf.sealed}
        ref = (
            refs.get((OF_EVENT if entry is None else entry, name))
            if isinstance(name, str) and isinstance(entry, int | None)
            else None
        )
        if ref is None or ref.grant != fields.hexadecimal(said.get("grant_id")):
            self._findings.add(at, "the leaf seals no such field of this grant")
            return
        plain = fields.octets(said.get("plain"), at)
        key = fields.octets(said.get("commit_key"), at)
        commit = base64.b64encode(hmac.digest(key, plain, "sha256")).decode()
        if not hmac.compare_digest(commit, ref.commit):
            self._findings.add(
                at, "is not what was sealed: the leaf's commitment differs"
            )
        self._report.opened += 1

    def _event(self, where: str, said: Mapping[str, Any]) -> None:
        """Compare a row in words with its leaf where both say it in the clear."""
        index, entry = fields.index(said.get("index"), where), said.get("entry")
        at = f"{where} (leaf {index})"
        self._report.rows += 1
        if index in self._hashes and index not in self._bytes:
            return
        leaf = self._parsed(index, at)
        told = dict(leaf.fields)
        if leaf.topic.startswith(GRANT_TOPICS):
            told["grant_id"] = leaf.stream
        if entry is not None:
            number = fields.index(entry, at)
            if number >= len(leaf.entries):
                self._findings.add(at, f"the leaf has no entry {number}")
                return
            told = dict(leaf.entries[number])
        told |= {"stream": leaf.stream, "stream_seq": leaf.version}
        for name in _SAID_BY_BOTH:
            meant = leaf.recorded_at if name == "recorded_at" else told.get(name)
            found = said.get(name)
            # A row may say what its leaf leaves open, such as of an earlier event.
            if found is None or meant in (None, ""):
                continue
            if name in _IDS:
                found, meant = map(fields.hexadecimal, (found, meant))
            if read_time(found) != read_time(meant):
                self._findings.add(
                    at, f"its {name} is {shown(found)}, the leaf says {shown(meant)}"
                )

    def _parsed(self, index: object, where: str) -> Leaf:
        data = self._bytes.get(index) if isinstance(index, int) else None
        if data is None:
            raise Refuted(where, "speaks of a leaf that is not here")
        return read_leaf(data, f"leaf {index}")
