"""What the command line names: files to read, keys to trust, older checkpoints."""

from __future__ import annotations

from argparse import Namespace
from collections.abc import Mapping, Sequence
from pathlib import Path

from grantledger.projections.verify.findings import Refuted, Unreadable
from grantledger.projections.verify.folder import Folder
from grantledger.projections.verify.merkle import NotProven, check_consistency
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
from grantledger.projections.verify.proof import MAX_PROOF_BYTES, read_growth

KEYS = "keys.txt"
MAX_KEYS_BYTES = 1 << 20


def older(asked: Namespace, trusted: Trust) -> list[Note]:
    """Return the older checkpoints, each signed by a known key.

    Witnesses may have come later: only the log's own signature is asked for.
    """
    notes: list[Note] = []
    for path in asked.older:
        note = read_note(read(path, MAX_NOTE_BYTES), str(path))
        check_signatures(note, Trust(trusted.keys), str(path))
        notes.append(note)
    return notes


def against_older(
    asked: Namespace,
    note: Note,
    trusted: Trust,
    roots: Mapping[int, bytes] | None = None,
    path: Sequence[bytes] | None = None,
) -> list[int]:
    """See that a checkpoint begins with each older one; return their sizes.

    Args:
        asked: the command's options.
        note: the newer one.
        trusted: whose signatures count.
        roots: of older trees, as far as the leaves at hand tell them.
        path: a consistency proof that is at hand; None for that of the options.

    Raises:
        Refuted: it does not.
        Unreadable: nothing at hand tells.
    """
    kept = older(asked, trusted)
    if path is None and asked.consistency is not None:
        data = read(asked.consistency, MAX_PROOF_BYTES)
        path, _ = read_growth(data, str(asked.consistency))
    for one in kept:
        where = f"checkpoint of {one.size} leaves"
        if one.origin != note.origin:
            raise Refuted(where, f"is of the log {one.origin}, not of {note.origin}")
        if one.size > note.size:
            raise Refuted(
                where, f"is not the older one: {asked.path} covers {note.size}"
            )
        known = (roots or {}).get(one.size)
        if known is None:
            _grown(one, note, path, where)
        elif known != one.root:
            raise Refuted(where, f"leaves 0 to {one.size - 1} are not those it covers")
    return [one.size for one in kept]


def _grown(one: Note, note: Note, path: Sequence[bytes] | None, where: str) -> None:
    """Check the consistency proof from an older checkpoint to a newer."""
    if path is None and one.size not in {0, note.size}:
        raise Unreadable(f"--older: {where} needs --consistency: the sizes differ")
    if not one.size:
        return
    try:
        check_consistency((one.size, one.root), (note.size, note.root), path or [])
    except NotProven as cause:
        raise Refuted(
            where, f"{cause}: leaves 0 to {one.size - 1} are not the same"
        ) from None


def trust(asked: Namespace, *, needed: bool) -> Trust:
    """Return whom the command line trusts.

    Raises:
        Unreadable: a key is none, or none is given where one is needed.
    """
    keys: list[Key] = [read_key(text) for text in asked.key]
    for path in asked.keys:
        try:
            text = read(path, MAX_KEYS_BYTES).decode()
        except UnicodeDecodeError:
            raise Unreadable(f"{path} is no text") from None
        keys += read_keys(text.splitlines())
    if needed and not keys:
        raise Unreadable("whose signature counts? Give --key or --keys")
    return Trust(tuple(keys), getattr(asked, "quorum", 0))


def read(path: Path, limit: int) -> bytes:
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


def known(trusted: Trust, folder: Folder) -> None:
    """See that some key is trusted; those that came along are not by themselves."""
    if trusted.keys:
        return
    brought = ""
    if folder.has(KEYS):
        text = folder.read(KEYS, MAX_KEYS_BYTES).decode(errors="replace")
        brought = "; it names these, compare them with what the log published: " + (
            " ".join(text.split())
        )
    raise Unreadable(f"whose signature counts? Give --key or --keys{brought}")
