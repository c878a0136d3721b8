"""The command line in this process: quick, for what needs no process of its own."""

from __future__ import annotations

import io
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from grantledger.adapters.cli.entry import run
from grantledger.adapters.devserver import Client, DevServer
from tests.cli.scene import SCOPES, Done


@dataclass
class Terminal:
    """Runs commands in its directory."""

    directory: Path
    capsys: pytest.CaptureFixture[str]
    monkeypatch: pytest.MonkeyPatch
    client: Client | None = None

    def run(self, *arguments: str, given: str = "") -> Done:
        self.capsys.readouterr()
        stdin = io.TextIOWrapper(io.BytesIO(given.encode()), encoding="utf-8")
        with self.monkeypatch.context() as patched:
            patched.setattr(sys, "stdin", stdin)
            code = run(list(arguments))
        captured = self.capsys.readouterr()
        return Done(code, captured.out, captured.err)

    def ok(self, *arguments: str, given: str = "") -> str:
        done = self.run(*arguments, given=given)
        assert done.code == 0, done
        return done.out

    def json(self, *arguments: str, given: str = "") -> Any:  # noqa: ANN401 - whatever JSON says
        done = self.run(*arguments, "--json", given=given)
        assert done.code == 0, done
        return done.json

    def refused(self, code: int, *arguments: str, given: str = "") -> Any:  # noqa: ANN401 - whatever JSON says
        """Return the error as a program sees it; people get one line with its name."""
        plain = self.run(*arguments, given=given)
        assert (plain.code, plain.out) == (code, ""), plain
        assert plain.err.startswith("grantledger: ")
        assert plain.err.count("\n") == 1
        again = self.run(*arguments, "--json", given=given)
        assert (again.code, again.err) == (code, ""), again
        assert again.json["error"] in plain.err
        return again.json

    def files(self) -> dict[str, bytes]:
        """Return every file; of the ledger, what it says rather than its pages."""
        return {
            p.name: p.read_bytes()
            for p in sorted(self.directory.iterdir())
            if p.is_file() and ".db" not in p.name
        }

    @property
    def leaves(self) -> int:
        """How many leaves the ledger has."""
        leaves: int = self.json("verify")["leaves"]
        return leaves

    def settings(self, text: str) -> None:
        """Append to the settings."""
        with (self.directory / "grantledger.toml").open("a") as file:
            file.write(text)

    def consented(
        self,
        server: DevServer,
        user: str = "alice",
        scopes: tuple[str, ...] = SCOPES,
        *more: str,
    ) -> str:
        """Import a consent of this user; return the refresh token."""
        assert self.client is not None
        issued = server.issue_grant(user, self.client.client_id, scopes)
        assert issued.refresh_token is not None
        said = ("import", "nc", user, "--scope", " ".join(scopes), *more)
        self.ok(*said, given=f"{issued.refresh_token}\n")
        return issued.refresh_token
