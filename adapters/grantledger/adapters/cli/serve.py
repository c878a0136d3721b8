"""`grantledger serve`, and secrets for those that call it."""

from __future__ import annotations

import json
import secrets
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated

import anyio
import typer
from argon2 import PasswordHasher

from grantledger.adapters.cli import output
from grantledger.adapters.cli.logging_up import logging_of
from grantledger.adapters.cli.options import Config, Json
from grantledger.adapters.http.processes import Children, NotStartedError
from grantledger.adapters.settings import Settings, load
from grantledger.domain.errors import Unavailable

SECRET_BYTES = 32
NODE = "GRANTLEDGER__BROKER__NODE"
_MAIN = "from grantledger.adapters.cli.entry import main; main()"


def serve(
    config: Config = None,
    sockets: Annotated[str | None, typer.Option(hidden=True)] = None,
) -> None:
    """Serve tokens over HTTP until SIGTERM; see docs/callers.md for the endpoints."""
    # Here, and not for every command: the service brings much along.
    from grantledger.adapters.console.serving import console_of  # noqa: PLC0415 - see above
    from grantledger.adapters.http import serving  # noqa: PLC0415 - see above

    settings = load(config)
    tell = logging_of(settings)

    def listening(address: str) -> None:
        tell(f"listening on {address}")

    quick = {"use_uvloop": True}
    if sockets is not None:
        handles = [int(handle) for handle in sockets.split(",")]
        anyio.run(
            serving.serve_as_child,
            settings,
            handles,
            console_of,
            backend_options=quick,
        )
    elif settings.file.http.workers == 1:
        anyio.run(serving.serve, settings, listening, console_of, backend_options=quick)
    else:
        try:
            anyio.run(
                serving.serve_by, settings, _children(config, settings), listening
            )
        except NotStartedError as failed:
            if failed.code < 0:
                words = f"a process was ended by signal {-failed.code} at its start"
                raise Unavailable(words) from None
            raise typer.Exit(failed.code) from None


def _children(config: Path | None, settings: Settings) -> Children:
    """Return how the processes of a service are started: as this one was."""

    def command(_: int, handles: Sequence[int]) -> Sequence[str]:
        sockets = ",".join(map(str, handles))
        where = [] if config is None else ["--config", str(config)]
        return [
            sys.executable,
            "-P",
            "-c",
            _MAIN,
            "serve",
            "--sockets",
            sockets,
            *where,
        ]

    def environment(number: int) -> Mapping[str, str]:
        # Where none is named, a process's number is in its name already.
        node = settings.file.broker.node
        return {} if node is None else {NODE: json.dumps(f"{node}-{number}")}

    return Children(settings.file.http.workers, command, environment)


def client_secret(
    client_id: Annotated[
        str, typer.Argument(metavar="ID", help="What the client calls itself.")
    ],
    *,
    as_json: Json = False,
) -> None:
    """Make a secret for a client; only its hash is for the settings.

    The secret is printed on standard output, once; what belongs into the settings
    goes to standard error.
    """
    secret = secrets.token_urlsafe(SECRET_BYTES)
    hashed = PasswordHasher().hash(secret)
    if as_json:
        output.write_json({"id": client_id, "secret": secret, "secret_hash": hashed})
        return
    output.write(secret)
    output.note(f'[[http.clients]]\nid = "{client_id}"\nsecret_hash = "{hashed}"')
