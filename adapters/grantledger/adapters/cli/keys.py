"""`grantledger keys`: the key ring itself."""

from __future__ import annotations

import typer
from rich.text import Text

from grantledger.adapters.cli import output
from grantledger.adapters.cli.options import Config, Json
from grantledger.adapters.keys.clock import SystemClock
from grantledger.adapters.keys.ring import KeyRing, KeyUse
from grantledger.adapters.settings import load
from grantledger.domain.errors import ConfigurationError

app = typer.Typer(help="Look after the key ring.", no_args_is_help=True)


@app.command()
def complete(config: Config = None, *, as_json: Json = False) -> None:
    """Add a key of each use that the ring lacks; the others stay as they are.

    A ring that was made before the log was signed has no signing key.
    """
    settings = load(config)
    if settings.keyring_text is not None:
        raise ConfigurationError(
            "the key ring stands in a variable: write it to a file, complete that, and "
            "set the variable anew",
            "keys.env",
        )
    path = settings.keyring_file
    ring = KeyRing.load(path)
    whole = ring.completed(SystemClock().now())
    added = [use.value for use in KeyUse if not ring.ids(use)]
    if added:
        whole.save(path, overwrite=True)
    words = f"added: {', '.join(added)}" if added else "nothing is missing"
    output.show(as_json, {"keyring": path, "added": added}, Text(f"{path}: {words}."))
