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

from grantledger.projections.verify.findings import (
    Findings,
    Refuted,
    TooMany,
    Unreadable,
)
from grantledger.projections.verify.ledger import SHARED_LEAVES, check_ledger
from grantledger.projections.verify.merkle import (
    MAX_LEAF_BYTES,
    NotProven,
    check_consistency,
    leaf_hash,
)
from grantledger.projections.verify.notes import (
    MAX_NOTE_BYTES,
    Key,
    Note,
    Trust,
    check_signatures,
    read_key,
    read_keys,
    read_note,
)
from grantledger.projections.verify.proof import (
    MAX_PROOF_BYTES,
    check_proof,
    read_growth,
    read_proof,
)

HOLDS = 0
REFUTED = 1
UNREADABLE = 2
MAX_KEYS_BYTES = 1 << 20


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
        kind.add_argument(
            "--quorum", type=int, default=0, help="witnesses that must have cosigned"
        )
        kind.add_argument(
            "--older",
            action="append",
            default=[],
            type=Path,
            help="a checkpoint kept earlier, that this has to begin with",
        )
        kind.add_argument("--json", action="store_true", help="answer as JSON")
        if name in {"checkpoint", "proof"}:
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
    trust = _trust(asked, needed=True)
    where = str(asked.path)
    note = read_note(_read(asked.path, MAX_NOTE_BYTES), where)
    _told(outcome, note, trust, where)
    _against_older(asked, outcome, note, trust)


def _proof(asked: argparse.Namespace, outcome: Outcome) -> None:
    trust = _trust(asked, needed=True)
    where = str(asked.path)
    proof = read_proof(_read(asked.path, MAX_PROOF_BYTES), where)
    _told(outcome, proof.note, trust, where)
    outcome.facts["leaf"] = proof.index
    check_proof(proof, leaf_hash(_read(asked.leaf, MAX_LEAF_BYTES)), where)
    _against_older(asked, outcome, proof.note, trust)
    outcome.limits.append("that no other leaf speaks of the same matter")


def _ledger(asked: argparse.Namespace, outcome: Outcome) -> None:
    trust = _trust(asked, needed=bool(asked.older))
    older = _older(asked, trust)
    report = check_ledger(
        asked.path,
        older,
        outcome.findings,
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
        "older": [note.size for note in older],
        "unknown_topics": list(report.unknown),
    }
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


def _older(asked: argparse.Namespace, trust: Trust) -> list[Note]:
    """Return the older checkpoints, each signed by a known key.

    Witnesses may have come later: only the log's own signature is asked for.
    """
    notes: list[Note] = []
    for path in asked.older:
        note = read_note(_read(path, MAX_NOTE_BYTES), str(path))
        check_signatures(note, Trust(trust.keys), str(path))
        notes.append(note)
    return notes


def _against_older(
    asked: argparse.Namespace, outcome: Outcome, note: Note, trust: Trust
) -> None:
    older = _older(asked, trust)
    if len(older) > 1:
        raise Unreadable("--older: one checkpoint, to which the proof belongs")
    for kept in older:
        where = f"checkpoint of {kept.size} leaves"
        if kept.origin != note.origin:
            raise Refuted(where, f"is of the log {kept.origin}, not of {note.origin}")
        if kept.size > note.size:
            raise Refuted(
                where, f"is not the older one: {asked.path} covers {note.size}"
            )
        path: list[bytes] = []
        if asked.consistency is not None:
            data = _read(asked.consistency, MAX_PROOF_BYTES)
            path, _ = read_growth(data, str(asked.consistency))
        elif kept.size not in {0, note.size}:
            raise Unreadable("--older needs --consistency: the sizes differ")
        try:
            if kept.size:
                check_consistency((kept.size, kept.root), (note.size, note.root), path)
        except NotProven as cause:
            raise Refuted(
                where, f"{cause}: leaves 0 to {kept.size - 1} are not the same"
            ) from None
        outcome.facts["older"] = [kept.size]


def _trust(asked: argparse.Namespace, *, needed: bool) -> Trust:
    keys: list[Key] = [read_key(text) for text in asked.key]
    for path in asked.keys:
        try:
            text = _read(path, MAX_KEYS_BYTES).decode()
        except UnicodeDecodeError:
            raise Unreadable(f"{path} is no text") from None
        keys += read_keys(text.splitlines())
    if needed and not keys:
        raise Unreadable("whose signature counts? Give --key or --keys")
    return Trust(tuple(keys), asked.quorum)


def _read(path: Path, limit: int) -> bytes:
    """Return a file's bytes.

    Raises:
        Unreadable: there is none, or it is longer than the limit.
    """
    try:
        with path.open("rb") as file:
            data = file.read(limit + 1)
    except (OSError, ValueError) as cause:
        raise Unreadable(f"cannot read {path}: {cause}") from cause
    if len(data) > limit:
        raise Unreadable(f"{path} has more than {limit} bytes")
    return data
