"""The command line: `main` is the installed `grantledger`."""

from __future__ import annotations

from grantledger.adapters.cli.app import app


def main() -> None:
    """Run."""
    app()
