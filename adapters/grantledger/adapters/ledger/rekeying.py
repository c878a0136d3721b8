"""Changing keys in a SQLite file; see `rekeyed`."""

from __future__ import annotations

from collections.abc import Sequence

from eventsourcing.sqlite import SQLiteCursor

from grantledger.adapters.ledger.rekeyed import Recoded, Rewrapped


def rewrap(c: SQLiteCursor, keys: Sequence[Rewrapped]) -> int:
    """Store the wrappings whose old one is still there; return how many."""
    done = 0
    for key in keys:
        c.execute(
            "UPDATE data_keys SET kek_id=?, wrapped=? WHERE grant_id=? AND wrapped=?",
            (key.kek_id, key.new, key.grant_id, key.old),
        )
        done += _changed(c)
    return done


def recode(c: SQLiteCursor, rows: Sequence[Recoded]) -> int:
    """Store the codes whose old one is still there; return how many."""
    done = 0
    for row in rows:
        c.execute(
            "UPDATE current_grants SET code=? WHERE grant_id=? AND code=?",
            (row.new, row.grant_id, row.old),
        )
        done += _changed(c)
    return done


def reseal_client(c: SQLiteCursor, provider: str, old: bytes, new: bytes) -> bool:
    """Store a client as sealed anew, unless it changed; tell whether."""
    c.execute(
        "UPDATE provider_clients SET sealed=? WHERE provider=? AND sealed=?",
        (new, provider, old),
    )
    return _changed(c) == 1


def retire_key(c: SQLiteCursor, key_id: str) -> None:
    """Let rings lack this key: an empty check value stands for it."""
    c.execute("UPDATE key_checks SET value=x'' WHERE key_id=?", (key_id,))


def _changed(c: SQLiteCursor) -> int:
    c.execute("SELECT changes()")
    return int(c.fetchone()[0])
