"""`grantledger backup`: a copy of a SQLite ledger, proven, with a signed checkpoint."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated

import anyio.to_thread
import typer
from rich.text import Text

from grantledger.adapters.bootstrap import OpenBroker
from grantledger.adapters.cli import output
from grantledger.adapters.cli.files import write_private
from grantledger.adapters.cli.leaf_check import LeafReport, check_file
from grantledger.adapters.cli.options import Config, Json
from grantledger.adapters.cli.running import with_broker
from grantledger.adapters.ledger import backup as files
from grantledger.adapters.ledger.sqlite_ledger import SqliteLedger
from grantledger.domain.errors import ConfigurationError

CHECKPOINT_SUFFIX = ".checkpoint"


def backup(
    file: Annotated[Path, typer.Argument(help="A new file; none is replaced.")],
    config: Config = None,
    *,
    as_json: Json = False,
) -> None:
    """Copy the ledger while it is in use, and prove the copy.

    Beside it stands a signed checkpoint, FILE.checkpoint. The key ring is not in it:
    keep copies of that apart.
    """

    async def work(opened: OpenBroker) -> tuple[LeafReport, str]:
        if not isinstance(opened.ledger, SqliteLedger):
            raise ConfigurationError(
                "a ledger on PostgreSQL is backed up with the server's own means: "
                "pg_dump, or a base backup and archived WAL",
                "ledger.url",
            )
        # Nothing is copied that could not be signed.
        await opened.guard.checkpoint()
        return await _made(opened, opened.ledger.path, file)

    report, origin = with_broker(config, work, tend=False)
    beside = _beside(file)
    output.show(
        as_json,
        {
            "backup": file,
            "checkpoint": beside,
            "origin": origin,
            "leaves": report.leaves,
            "root": report.root.hex(),
        },
        output.facts(
            [
                ("backup", f"{file}, mode 0600, without the key ring"),
                ("checkpoint", str(beside)),
                ("leaves", f"{report.leaves}, each as its hash says"),
                ("root", f"{report.root.hex()}, as the head says"),
            ]
        ),
        Text("Keep both, the key ring elsewhere, and the checkpoint in a third place."),
    )


def _beside(file: Path) -> Path:
    return file.with_name(file.name + CHECKPOINT_SUFFIX)


async def _made(opened: OpenBroker, source: Path, file: Path) -> tuple[LeafReport, str]:
    beside = _beside(file)
    for path in (file, beside):
        if path.exists() or path.is_symlink():
            raise ConfigurationError(f"{path} exists and is not replaced", "file")
    half = file.with_name(f".{file.name}.{os.urandom(8).hex()}.part")
    try:
        await anyio.to_thread.run_sync(files.copy, source, half)
        report = await anyio.to_thread.run_sync(check_file, half)
        origin, note = await opened.guard.sign(report.leaves, report.root)
        write_private(beside, note)
        files.publish(half, file, beside)
    finally:
        half.unlink(missing_ok=True)
    return report, origin
