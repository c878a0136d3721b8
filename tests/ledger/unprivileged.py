"""A child without privileges: `python -m tests.ledger.unprivileged <ledger> ...`.

File modes do not bind root, so it drops to nobody when it is root. It reads the ring
from standard input, opens each ledger, and prints a line of what came of it.
"""

from __future__ import annotations

import asyncio
import os
import sys
import tempfile
from pathlib import Path

from grantledger.adapters.keys.ring import KeyRing
from grantledger.domain.errors import GrantledgerError
from tests.ledger.scene import Scene, new_grant

NOBODY = 65534


async def _outcome(scene: Scene) -> str:
    try:
        async with scene.opened() as ledger:
            return await ledger.append(new_grant())
    except GrantledgerError as error:
        return f"{type(error).__name__}: {error}"


def main() -> None:
    ring = KeyRing.parse(sys.stdin.read(), "the test")
    with tempfile.TemporaryDirectory() as folder:
        # Everything is imported before the interpreter's own files become unreadable.
        asyncio.run(_outcome(Scene(Path(folder) / "warm.db", ring=ring).make()))
    if os.getuid() == 0:
        os.setgid(NOBODY)
        os.setuid(NOBODY)
    for name in sys.argv[1:]:
        said = asyncio.run(_outcome(Scene(Path(name), ring=ring)))
        sys.stdout.write(f"{said}\n")


if __name__ == "__main__":
    main()
