"""The command line of `grantledger-verify`.

Exit codes: 0 what was asked holds; 1 it does not, each finding says where; 2 the
question is wrong or the input cannot be read: nothing was proven, nothing refuted.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TextIO, cast

from grantledger.projections.verify import bundle, inputs, tiles
from grantledger.projections.verify.findings import (
    Findings,
    Refuted,
    TooMany,
    Unreadable,
)
from grantledger.projections.verify.folder import Folder
from grantledger.projections.verify.ledger import SHARED_LEAVES, check_ledger
from grantledger.projections.verify.merkle import (
    MAX_LEAF_BYTES,
    leaf_hash,
)
from grantledger.projections.verify.notes import (
    MAX_NOTE_BYTES,
    Note,
    Trust,
    check_signatures,
    read_note,
)
from grantledger.projections.verify.proof import (
    MAX_PROOF_BYTES,
    OLD_LINE,
    check_proof,
    read_growth,
    read_proof,
)

HOLDS = 0
REFUTED = 1
UNREADABLE = 2


@dataclass(slots=True)
class Outcome:
    """What a check says.

    Attributes:
        facts: what was checked, for people and programs.
        findings: what does not hold.
        limits: what it does not prove.
    """

    facts: dict[str, Any] = field(default_factory=dict[str, Any])
    findings: Findings = field(default_factory=Findings)
    limits: list[str] = field(default_factory=list[str])


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; return its exit code."""
    asked = _parser().parse_args(arguments)
    outcome = Outcome()
    check: Callable[[argparse.Namespace, Outcome], None] = asked.check
    try:
        check(asked, outcome)
    except Refuted as refuted:
        outcome.findings.items.append(refuted.finding)
    except TooMany:
        pass
    except Unreadable as cause:
        if outcome.findings.items:
            # What was found before stays found.
            outcome.limits.append(str(cause))
        else:
            _say({"ok": None, "error": str(cause)}, [str(cause)], asked, sys.stderr)
            return UNREADABLE
    ok = not outcome.findings.items
    _say(
        {
            "ok": ok,
            "kind": asked.kind,
            **outcome.facts,
            "findings": [
                {"where": f.where, "message": f.message} for f in outcome.findings.items
            ],
            "findings_cut": outcome.findings.cut,
            "not_proven": outcome.limits,
        },
        _lines(asked, outcome, ok=ok),
        asked,
        sys.stdout,
    )
    return HOLDS if ok else REFUTED


def _lines(asked: argparse.Namespace, outcome: Outcome, *, ok: bool) -> list[str]:
    lines = [f"{asked.path}: {'verified' if ok else 'DOES NOT VERIFY'}"]
    lines += [f"  {finding}" for finding in outcome.findings.items]
    if outcome.findings.cut:
        lines.append("  ... and more")
    for name, value in outcome.facts.items():
        told = value
        if isinstance(value, list):
            told = ", ".join(map(str, cast("list[object]", value)))
        lines.append(f"  {name.replace('_', ' ')}: {told}")
    lines += [f"  not proven: {limit}" for limit in outcome.limits]
    return lines


def _say(
    data: dict[str, Any], lines: list[str], asked: argparse.Namespace, to: TextIO
) -> None:
    text = json.dumps(data) if asked.json else "\n".join(map(_printable, lines))
    to.write(f"{text}\n")


def _printable(line: str) -> str:
    """Return a line that does nothing to a terminal."""
    return "".join(c if c.isprintable() else ascii(c)[1:-1] for c in line)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="grantledger-verify",
        description="Check a ledger, or what came out of one, without the broker.",
        epilog="Exit codes: 0 it holds, 1 it does not, 2 it could not be checked.",
    )
    kinds = parser.add_subparsers(dest="kind", required=True)
    for name, check, what in (
        ("checkpoint", _checkpoint, "a signed checkpoint"),
        ("proof", _proof, "a tlog-proof of one leaf"),
        ("bundle", _bundle, "an evidence bundle, a directory or a zip"),
        ("tiles", _tiles, "a log as a directory of tiles, with its tables"),
        ("ledger", _ledger, "a whole SQLite ledger file"),
    ):
        kind = kinds.add_parser(name, help=f"check {what}", description=what)
        kind.set_defaults(check=check)
        kind.add_argument("path", type=Path)
        kind.add_argument(
            "--key", action="append", default=[], help="a verifier key: name+id+base64"
        )
        kind.add_argument(
            "--keys", action="append", default=[], type=Path, help="keys, one a line"
        )
        if name != "ledger":
            kind.add_argument(
                "--quorum",
                type=int,
                default=0,
                help="witnesses that must have cosigned",
            )
        kind.add_argument(
            "--older",
            action="append",
            default=[],
            type=Path,
            help="a checkpoint kept earlier, that this has to begin with",
        )
        kind.add_argument("--json", action="store_true", help="answer as JSON")
        if name in {"checkpoint", "proof", "bundle"}:
            kind.add_argument(
                "--consistency",
                type=Path,
                help="the proof that it does: `grantledger log consistency` writes it",
            )
        if name == "proof":
            kind.add_argument(
                "--leaf", type=Path, required=True, help="the leaf's bytes"
            )
        if name == "ledger":
            kind.add_argument(
                "--log-only",
                action="store_true",
                help="leave out the digests of what is sealed",
            )
            kind.add_argument("--processes", type=int, default=2)
            kind.add_argument(
                "--shared-from",
                type=int,
                default=SHARED_LEAVES,
                help="leaves from which on two processes share the work",
            )
    return parser


def _checkpoint(asked: argparse.Namespace, outcome: Outcome) -> None:
    trust = inputs.trust(asked, needed=True)
    where = str(asked.path)
    data = inputs.read(asked.path, MAX_PROOF_BYTES)
    path: Sequence[bytes] | None = None
    if data.startswith(OLD_LINE.encode()):
        # As witnesses are asked: with the proof that the log has only grown.
        path, data = read_growth(data, where)
    note = read_note(data, where)
    _told(outcome, note, trust, where)
    outcome.facts["older"] = inputs.against_older(asked, note, trust, path=path)
    if not asked.older:
        outcome.limits.append("that it begins with one from before: give --older")


def _proof(asked: argparse.Namespace, outcome: Outcome) -> None:
    trust = inputs.trust(asked, needed=True)
    where = str(asked.path)
    proof = read_proof(inputs.read(asked.path, MAX_PROOF_BYTES), where)
    _told(outcome, proof.note, trust, where)
    outcome.facts["leaf"] = proof.index
    check_proof(proof, leaf_hash(inputs.read(asked.leaf, MAX_LEAF_BYTES)), where)
    outcome.facts["older"] = inputs.against_older(asked, proof.note, trust)
    outcome.limits.append("that no other leaf speaks of the same matter")


def _ledger(asked: argparse.Namespace, outcome: Outcome) -> None:
    trust = inputs.trust(asked, needed=bool(asked.older))
    older = inputs.older(asked, trust)
    report = check_ledger(
        asked.path,
        older,
        outcome.findings,
        trust=trust,
        sealed=not asked.log_only,
        shared_from=asked.shared_from if asked.processes > 1 else None,
    )
    outcome.facts |= {
        "leaves": report.leaves,
        "root": None if report.root is None else report.root.hex(),
        "sealed_parts": report.sealed,
        "grants": report.grants,
        "erased_grants": report.erased,
        "pruned_leaves": report.pruned,
        "published_checkpoints": report.published,
        "older": [note.size for note in older],
        "unknown_topics": list(report.unknown),
    }
    outcome.limits.extend(
        f"that grant {grant} is erased: its data key is still there"
        for grant in report.unfinished
    )
    outcome.limits.extend(
        f"who signed its own checkpoints of {origin}: give --key"
        for origin in report.unsigned
    )
    if not older:
        outcome.limits.append(
            "that nobody with write access has rewritten all of it: "
            "give a checkpoint that was kept elsewhere (--older)"
        )
    if asked.log_only:
        outcome.limits.append("that what is sealed is what was sealed (--log-only)")
    if report.unknown:
        outcome.limits.append("what events of unknown topics have changed")
    outcome.limits.append("what sealed parts say: `grantledger verify` opens them")


def _bundle(asked: argparse.Namespace, outcome: Outcome) -> None:
    trust = inputs.trust(asked, needed=False)
    with Folder(asked.path) as folder:
        inputs.known(trust, folder)
        manifest = bundle.check_files(folder)
        data = folder.read(bundle.CHECKPOINT, MAX_NOTE_BYTES)
        note = read_note(data, bundle.CHECKPOINT)
        _told(outcome, note, trust, bundle.CHECKPOINT)
        sizes = [kept.size for kept in inputs.older(asked, trust)]
        report = bundle.check_bundle(folder, manifest, note, sizes, outcome.findings)
    outcome.facts |= {
        "asked": dict(report.asked),
        "complete": report.complete,
        "leaves": report.leaves,
        "ranges": [f"{start} to {end - 1}" for start, end in report.ranges],
        "single_leaves": report.single,
        "leaves_without_bytes": report.bare,
        "opened_fields": report.opened,
        "rows_in_words": report.rows,
        "files": report.files,
    }
    outcome.facts["older"] = inputs.against_older(asked, note, trust, report.roots)
    if not report.complete:
        outcome.limits.append("that nothing else in the log belongs to the answer")
    outcome.limits.extend(
        f"that the range reaches over the time asked for: leaf {index} has no bytes"
        for index in report.untold
    )
    if report.complete and {"token", "subject"} & report.asked.keys():
        outcome.limits.append("that no other grant was the token's or the user's")
    if report.bare:
        outcome.limits.append(
            "what the leaves said of which only the hash is left, "
            "and that only journal leaves are among them"
        )
    outcome.limits.append(
        "the words of report.html and events.ndjson: leaves and opened fields are proof"
    )


def _tiles(asked: argparse.Namespace, outcome: Outcome) -> None:
    trust = inputs.trust(asked, needed=False)
    if not asked.path.is_dir():
        raise Unreadable(f"{asked.path} is no directory")
    with Folder(asked.path) as folder:
        inputs.known(trust, folder)
        data = folder.read(tiles.CHECKPOINT, MAX_NOTE_BYTES)
        note = read_note(data, tiles.CHECKPOINT)
        _told(outcome, note, trust, tiles.CHECKPOINT)
        older = inputs.older(asked, trust)
        report = tiles.check_tiles(folder, note, older, outcome.findings)
    outcome.facts |= {
        "sealed_parts": report.sealed,
        "grants": report.grants,
        "erased_grants": report.erased,
        "pruned_leaves": report.pruned,
        "tables": list(report.tables),
        "older": [kept.size for kept in older],
        "unknown_topics": list(report.unknown),
    }
    for name in (tiles.EVENTS, tiles.SEALED, tiles.GRANTS):
        if name not in report.tables:
            outcome.limits.append(f"what would stand in {name}: it is not there")
    if report.unknown:
        outcome.limits.append("what events of unknown topics have changed")
    outcome.limits.append("what sealed parts say: they are not here")


def _told(outcome: Outcome, note: Note, trust: Trust, where: str) -> None:
    """Check a note's signatures, and say who signed what."""
    outcome.facts |= {
        "origin": note.origin,
        "size": note.size,
        "root": note.root.hex(),
    }
    signers = check_signatures(note, trust, where)
    outcome.facts["signed_by"] = list(signers.keys)
    outcome.facts["witnesses"] = [f"{name} at {at}" for name, at in signers.witnesses]
    if not signers.witnesses:
        outcome.limits.append(
            "that others were shown the same log: no known witness has signed"
        )
