"""`grantledger checkpoint`: the log's size and root, signed, to be kept elsewhere."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from grantledger.adapters.bootstrap import OpenBroker
from grantledger.adapters.cli import output
from grantledger.adapters.cli.files import write_private
from grantledger.adapters.cli.options import Config, Json
from grantledger.adapters.cli.running import with_broker


def checkpoint(
    out: Annotated[
        Path | None,
        typer.Option(help="Write it to a new file as well.", show_default=False),
    ] = None,
    config: Config = None,
    *,
    key: Annotated[
        bool, typer.Option("--key", help="Show the verifier key instead.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Sign the log as it is now: a note in the C2SP format, for others to keep.

    Whoever holds it can tell later whether the ledger still begins with what it
    covers: `grantledger verify --checkpoint FILE`.
    """

    async def work(opened: OpenBroker) -> tuple[str, str]:
        known = await opened.guard.verifier_key()
        return "" if key else await opened.guard.checkpoint(), known

    note, known = with_broker(config, work, tend=False)
    if out is not None:
        write_private(out, f"{known}\n" if key else note)
    if as_json:
        output.write_json({"key": known} if key else {"checkpoint": note, "key": known})
    else:
        output.write(known if key else note.removesuffix("\n"))
