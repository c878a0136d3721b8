"""Setting up: `init` makes the files, `provider` names authorization servers."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import anyio
import typer
from rich.text import Text

from grantledger.adapters.cli import output, workplace
from grantledger.adapters.cli.options import Json


def init(
    directory: Annotated[
        Path, typer.Option("--dir", help="Where; it is made if it is not there.")
    ] = Path(),
    *,
    as_json: Json = False,
) -> None:
    """Make settings, key ring and ledger; what is there is never replaced."""
    made = anyio.run(workplace.make, directory.absolute())
    data = {"config": made.config, "keyring": made.keyring, "ledger": made.ledger}
    rows = [(name, str(path)) for name, path in data.items()]
    output.show(
        as_json,
        data,
        output.facts(list(rows)),
        Text(
            "Keep a copy of the key ring apart from copies of the ledger: without it "
            "nothing opens.\nNext: grantledger provider add",
        ),
    )
