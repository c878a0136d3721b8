"""The command line: `main` is the installed `grantledger`."""

from __future__ import annotations

from grantledger.adapters.cli.entry import main

__all__ = ["main"]
