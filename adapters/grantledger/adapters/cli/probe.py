"""`grantledger probe`: asks a running service whether it is ready."""

from __future__ import annotations

from typing import Annotated

import httpx
import typer

from grantledger.adapters.cli import output
from grantledger.adapters.cli.options import Config, Json
from grantledger.adapters.settings import load
from grantledger.adapters.settings.listening import address
from grantledger.domain.errors import Unavailable

SECONDS = 4.0
_EVERYWHERE = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104 - where it listens, not we


def probe(
    config: Config = None,
    seconds: Annotated[
        float, typer.Option(min=0.1, max=60, help="To wait at most.")
    ] = SECONDS,
    *,
    as_json: Json = False,
) -> None:
    """Ask the service of these settings, on this machine, whether it is ready."""
    host, port = address(load(config).file.http.listen)
    host = _EVERYWHERE.get(host, host)
    shown = f"[{host}]" if ":" in host else host
    try:
        said = httpx.get(
            f"http://{shown}:{port}/readyz", timeout=seconds, trust_env=False
        )
        body = said.json()
    except (httpx.HTTPError, ValueError) as cause:
        raise Unavailable(f"no answer: {type(cause).__name__}") from None
    if not said.is_success:
        raise Unavailable(f"not ready: {said.text[:500]}")
    output.show(as_json, body, "ready")
