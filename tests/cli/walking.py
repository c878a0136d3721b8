"""`connect --no-browser` as a process, and somebody who opens the address it prints."""

from __future__ import annotations

import asyncio
import subprocess
from dataclasses import replace
from urllib.parse import parse_qs, urlsplit

from grantledger.adapters.cli.demo.browser import Browser
from grantledger.adapters.devserver import Client, DevServer
from tests.cli.scene import SECONDS, Done, Shell, where_is


class Connecting:
    """A `connect` that waits for its browser.

    Attributes:
        url: what it asks people to open.
        redirect_uri: where it listens.
    """

    def __init__(self, shell: Shell, *arguments: str) -> None:
        self._shell = shell
        self._process = shell.start("connect", "nc", "--no-browser", *arguments)
        assert self._process.stderr is not None
        self.first = self._process.stderr.readline()
        self.url: str = self._process.stderr.readline().strip()
        asked = parse_qs(urlsplit(self.url).query)
        self.redirect_uri = asked["redirect_uri"][0]
        self.state = asked["state"][0]

    @property
    def process(self) -> subprocess.Popen[str]:
        return self._process

    def allow(self, server: DevServer, client: Client) -> None:
        """Register the address that it listens at."""
        state = server.state
        state.clients[client.client_id] = replace(
            client, redirect_uris=(self.redirect_uri,)
        )

    def walk(self, user: str) -> int:
        """Consent as this user; return the status of the last page."""
        return asyncio.run(Browser(user).walk(self.url))

    def done(self, code: int = 0) -> Done:
        """Wait for its end."""
        try:
            out, err = self._process.communicate(timeout=SECONDS)
        except subprocess.TimeoutExpired as late:
            raise AssertionError(f"it goes on: {where_is(self._process)}") from late
        self._shell.said += [out.encode(), err.encode()]
        assert self._process.returncode == code, (out, err)
        return Done(code, out, err)
