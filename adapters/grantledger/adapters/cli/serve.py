"""`grantledger serve`, and secrets for those that call it."""

from __future__ import annotations

import secrets
from typing import Annotated

import anyio
import typer
from argon2 import PasswordHasher

from grantledger.adapters.cli import output
from grantledger.adapters.cli.logging_up import logging_of
from grantledger.adapters.cli.options import Config, Json
from grantledger.adapters.http.serving import serve as serve_http
from grantledger.adapters.settings import load

SECRET_BYTES = 32


def serve(config: Config = None) -> None:
    """Serve tokens over HTTP until SIGTERM; see docs/callers.md for the endpoints."""
    settings = load(config)
    tell = logging_of(settings)

    def listening(address: str) -> None:
        tell(f"listening on {address}")

    anyio.run(
        serve_http,
        settings,
        listening,
        backend_options={"use_uvloop": True},
    )


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
