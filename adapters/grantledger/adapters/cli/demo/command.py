"""`grantledger demo`: plays the main job and says whether all was as promised."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import anyio
import typer

from grantledger.adapters.cli.exits import UNEXPECTED
from grantledger.adapters.cli.options import Json


class ProfileName(StrEnum):
    """Which release of Nextcloud's OIDC app the development server behaves like."""

    A = "a"
    B = "b"


def demo(
    profile: Annotated[
        ProfileName, typer.Option(help="a: Nextcloud OIDC 2.0.9, b: 2.5.1.")
    ] = ProfileName.B,
    directory: Annotated[
        Path | None,
        typer.Option("--dir", help="An empty directory; a temporary one by default."),
    ] = None,
    *,
    as_json: Json = False,
) -> None:
    """Play the main job on a fresh ledger, against a development server on loopback."""
    # Here, and not for every command: it brings a server along.
    from grantledger.adapters.cli.demo.playing import play  # noqa: PLC0415 - see above

    ok = anyio.run(play, str(profile), directory, as_json)
    if not ok:
        raise typer.Exit(UNEXPECTED)
