"""A witness as C2SP tlog-witness describes it, small and strict.

It checks signature, size and consistency proof, makes its new state durable, and only
then answers with its cosignature. What it remembers is a file: it can be started again.
"""

from __future__ import annotations

import json
import os
from dataclasses import dataclass, field
from pathlib import Path

from grantledger.adapters.keys.signing import RingSigner, is_signed
from grantledger.projections.checkpoints import SignedCheckpoint, key_id
from grantledger.projections.cosigning import (
    SIZE_TYPE,
    Cosigner,
    cosigned,
    read_request,
)
from grantledger.projections.proofs import check_consistency
from grantledger.projections.transparency import EMPTY_ROOT
from tests.upstream.support import CannedServer, Reply, Seen

PATH = "/w/add-checkpoint"
TIME = 1_770_000_000


@dataclass
class Witness:
    """One witness behind a `CannedServer`.

    Attributes:
        file: what it remembers: of each origin size and root.
        logs: the public keys that it trusts, by origin.
        statuses: of every answer, oldest first.
        down: answers 503 while it is true.
        forged: signs with another key while it is true.
    """

    server: CannedServer
    file: Path
    name: str = "witness.example/w1"
    logs: dict[str, list[bytes]] = field(default_factory=dict[str, list[bytes]])
    statuses: list[int] = field(default_factory=list[int])
    down: bool = False
    forged: bool = False
    signer: RingSigner = field(default_factory=lambda: RingSigner(os.urandom(32)))

    def __post_init__(self) -> None:
        self.server.on(PATH, self.answer)

    @property
    def cosigner(self) -> Cosigner:
        return Cosigner(self.name, self.signer.public_key)

    @property
    def settings(self) -> dict[str, object]:
        """What stands in the settings' `log.witnesses`."""
        return {"url": f"{self.server.url}/w/", "key": self.cosigner.key, "seconds": 2}

    @property
    def known(self) -> dict[str, tuple[int, str]]:
        if not self.file.exists():
            return {}
        said: dict[str, tuple[int, str]] = json.loads(self.file.read_text())
        return said

    def trust(self, origin: str, *keys: bytes) -> None:
        self.logs[origin] = list(keys)

    async def answer(self, seen: Seen) -> Reply:
        said = Reply(503) if self.down else self._answer(seen.body)
        self.statuses.append(said.status)
        return said

    def _answer(self, body: bytes) -> Reply:
        try:
            request = read_request(body)
            note = request.signed()
        except ValueError:
            return Reply(400)
        origin, size = note.checkpoint.origin, note.checkpoint.size
        refused = self._refused(request.old, note)
        if refused is not None:
            return refused
        old_root = bytes.fromhex(self.known.get(origin, (0, EMPTY_ROOT.hex()))[1])
        root = note.checkpoint.root
        try:
            check_consistency(request.old, old_root, size, root, request.proof)
        except ValueError:
            return Reply(409 if request.old == size else 422)
        self._keep({**self.known, origin: (size, root.hex())})
        signer = RingSigner(os.urandom(32)) if self.forged else self.signer
        line = cosigned(self.name, note.signed, TIME, signer)
        return Reply(200, line.encode(), {"Content-Type": "text/plain"})

    def _refused(self, old: int, note: SignedCheckpoint) -> Reply | None:
        origin = note.checkpoint.origin
        if origin not in self.logs:
            return Reply(404)
        if not self._trusted(note):
            return Reply(403)
        if old > note.checkpoint.size:
            return Reply(400)
        size, _ = self.known.get(origin, (0, ""))
        if old != size:
            return Reply(409, f"{size}\n".encode(), {"Content-Type": SIZE_TYPE})
        return None

    def _trusted(self, note: SignedCheckpoint) -> bool:
        origin = note.checkpoint.origin
        return any(
            line.key_id == key_id(origin, key)
            and is_signed(key, note.signed, line.signature)
            for key in self.logs[origin]
            for line in note.signatures
        )

    def _keep(self, known: dict[str, tuple[int, str]]) -> None:
        half = self.file.with_suffix(".new")
        with half.open("w") as file:
            json.dump(known, file)
            file.flush()
            os.fsync(file.fileno())
        half.replace(self.file)
