"""A real ledger with some of everything, written once; each case changes a copy."""

from __future__ import annotations

import base64
import json
import shutil
import sqlite3
from contextlib import closing
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from grantledger.adapters.keys.ring import KeyRing
from grantledger.adapters.keys.signing import RingSigner
from grantledger.adapters.ledger.stored_ledger import StoredLedger
from grantledger.domain.context import Context
from grantledger.domain.pruning import prune
from grantledger.domain.user_grant import UserGrant
from grantledger.domain.values import ErasureReason, Outcome
from grantledger.projections.checkpoints import Checkpoint, signed_note, verifier_key
from grantledger.projections.transparency import CompactRange, leaf_hash
from grantledger.projections.verify.command import main
from tests.ledger.scene import (
    Scene,
    answered,
    ctx,
    denial,
    hand_out,
    intended,
    new_grant,
    revoked,
)

ORIGIN = "ledger.example/1"
EARLIER = datetime.now(UTC) - timedelta(hours=1)


@dataclass(frozen=True)
class Written:
    """The ledger as it was written, and what was kept of it elsewhere.

    Attributes:
        older: a checkpoint kept from before the last events.
        key: of the log, as text.
        old: a copy of the file from when `older` was signed.
        ids: of the grants by their subjects.
    """

    path: Path
    ring: KeyRing
    older: Path
    newest: Path
    key: str
    old: Path
    ids: dict[str, str]

    def signer(self) -> RingSigner:
        signer = self.ring.signer()
        assert signer is not None
        return signer

    def copy(self, folder: Path) -> Path:
        """Return a copy of the ledger that a case may change."""
        return Path(shutil.copy(self.path, folder / "copy.db"))


def now() -> Context:
    return ctx(datetime.now(UTC))


async def grants(ledger: StoredLedger) -> dict[str, UserGrant]:
    """Store grants of every status."""
    found: dict[str, UserGrant] = {}
    for name in ("alice", "bob", "carol", "dave", "erin"):
        grant = new_grant(name, f"rt-{name}")
        await ledger.append(grant)
        draft, intent = intended(grant.fork())
        await ledger.append(draft)
        if name != "dave":
            draft = answered(draft.fork(), intent, f"rt2-{name}", f"at-{name}")
            await ledger.append(draft)
        found[name] = draft.fork()
    return found


async def write(scene: Scene, folder: Path) -> Written:
    """Write the ledger."""
    async with scene.opened() as ledger:
        known = await grants(ledger)
        await ledger.record(hand_out(known["alice"]))
        await ledger.record(denial())
        await ledger.record(hand_out(known["bob"], expires_at=EARLIER))
        await ledger.record(denial(grant_id=known["bob"].id, grant_version=1))
        old = folder / "old.db"
        with closing(sqlite3.connect(scene.path)) as reading:
            reading.execute("VACUUM INTO ?", (str(old),))
        older = folder / "older.checkpoint"
        older.write_text(note_of(old, scene.ring))
        await ledger.append(revoked(known["bob"]))
        draft = known["carol"].fork()
        draft.erase(ctx(), reason=ErasureReason.USER_REQUEST, receipt="r-1")
        await ledger.append(draft)
        await ledger.destroy(draft.id)
        await prune(
            ledger,
            ledger,
            now,
            before=datetime.now(UTC),
            outcomes=(Outcome.DENIED,),
            reason="kept long enough",
        )
        await ledger.record(hand_out(known["alice"], caller="another"))
    with closing(sqlite3.connect(scene.path)) as file:
        file.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    newest = folder / "newest.checkpoint"
    newest.write_text(note_of(scene.path, scene.ring))
    signer = scene.ring.signer()
    assert signer is not None
    return Written(
        scene.path,
        scene.ring,
        older,
        newest,
        verifier_key(ORIGIN, signer.public_key),
        old,
        {name: grant.id.hex for name, grant in known.items()},
    )


def note_of(path: Path, ring: KeyRing) -> str:
    """Return a signed checkpoint of the ledger as its leaf hashes say."""
    tree = CompactRange()
    with closing(sqlite3.connect(path)) as connection:
        tree.extend(
            row[0]
            for row in connection.execute(
                "SELECT leaf_hash FROM stored_events ORDER BY rowid"
            )
        )
    signer = ring.signer()
    assert signer is not None
    return signed_note(Checkpoint(ORIGIN, tree.size, tree.root()), signer)


def change(path: Path, *statements: str) -> None:
    """Change a ledger behind its back, as somebody with the file can."""
    with closing(sqlite3.connect(path)) as connection:
        connection.create_function("leaf_hash", 1, leaf_hash)
        for statement in statements:
            connection.execute(statement)
        connection.commit()
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")


def rehead(path: Path) -> None:
    """Make hashes and head right again, as somebody who knows the format can."""
    with closing(sqlite3.connect(path)) as connection:
        tree = CompactRange()
        rows = connection.execute(
            "SELECT rowid, state, leaf_hash FROM stored_events ORDER BY rowid"
        ).fetchall()
        for rowid, state, said in rows:
            hashed = leaf_hash(state) if state else said
            connection.execute(
                "UPDATE stored_events SET leaf_hash=? WHERE rowid=?", (hashed, rowid)
            )
            tree.append(hashed)
        connection.execute(
            "UPDATE log_head SET next_index=?, frontier=?", (tree.size, tree.to_bytes())
        )
        connection.commit()


def leaf(path: Path, index: int) -> dict[str, Any]:
    """Return what a leaf says."""
    with closing(sqlite3.connect(path)) as connection:
        row = connection.execute(
            "SELECT state FROM stored_events WHERE rowid=?", (index + 1,)
        ).fetchone()
    said: dict[str, Any] = json.loads(row[0])
    return said


def encoded(data: bytes) -> str:
    return base64.b64encode(data).decode()


class Verifier:
    """Runs the command in this process, and keeps what it said."""

    def __init__(self, capsys: Any) -> None:  # noqa: ANN401 - pytest's
        self._capsys = capsys

    def __call__(self, *arguments: object) -> dict[str, Any]:
        """Return the answer, with the exit code under `code`."""
        code = main([*map(str, arguments), "--json"])
        said = self._capsys.readouterr()
        answer: dict[str, Any] = json.loads(said.out or said.err)
        return answer | {"code": code}

    def found(self, *arguments: object) -> list[str]:
        """Return the findings of something that does not hold, each on a line."""
        answer = self(*arguments)
        assert answer["code"] == 1, answer
        return [f"{f['where']}: {f['message']}" for f in answer["findings"]]

    def holds(self, *arguments: object) -> dict[str, Any]:
        """Return the answer of something that holds."""
        answer = self(*arguments)
        assert answer["code"] == 0, answer
        return answer
