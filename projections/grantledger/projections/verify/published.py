"""The checkpoints that a ledger has published and keeps itself.

They tell nothing to whoever can write the file and has the signing key. Against
everybody else they are as good as one that was kept elsewhere.
"""

from __future__ import annotations

import sqlite3

from grantledger.projections.verify.findings import Findings, Refuted, shown
from grantledger.projections.verify.notes import (
    Note,
    Trust,
    check_signatures,
    read_note,
)

NEWEST = 100
"""So many are compared: each says what the ones before it say."""

_QUERY = "SELECT origin, size, root, note FROM checkpoints ORDER BY size DESC LIMIT ?"


def published(
    connection: sqlite3.Connection, trust: Trust, findings: Findings
) -> list[Note]:
    """Return the newest published checkpoints; each is signed, where a key is known.

    Args:
        connection: to the ledger; an older schema has no such table.
        trust: keys; of a log that none of them is of, signatures are not checked.
        findings: what is no checkpoint is added here.
    """
    there = connection.execute(
        "SELECT 1 FROM sqlite_schema WHERE type = 'table' AND name = 'checkpoints'"
    ).fetchone()
    if there is None:
        return []
    found: list[Note] = []
    for origin, size, root, text in connection.execute(_QUERY, (NEWEST,)):
        where = f"checkpoints {shown(size)} of {shown(origin)}"
        try:
            found.append(_note((origin, size, root), text, trust, where))
        except Refuted as refuted:
            findings.add(refuted.finding.where, refuted.finding.message)
    return found


def _note(said: tuple[object, ...], text: object, trust: Trust, where: str) -> Note:
    """Return the note of a row.

    Raises:
        Refuted: it is none, or not what the row says, or a known key did not sign it.
    """
    note = read_note(text.encode() if isinstance(text, str) else b"", where)
    if (note.origin, note.size, note.root) != said:
        raise Refuted(where, "its note is of another origin, size or root")
    if any(key.name == note.origin for key in trust.keys):
        check_signatures(note, Trust(trust.keys), where)
    return note
