"""django-oauth-toolkit as a process: an authorization server that others wrote.

    with DotServer(folder) as server:
        ...  # server.issuer, server.client_id, server.client_secret

Rotation, a grace period in which a lost answer is given again, reuse protection,
revocation (RFC 7009), metadata (RFC 8414), OpenID Connect. Logging in takes no
password. Beside its own pages it has `/_test/grant` (tokens for a user, without a
browser), `/_test/age` (makes what was rotated older) and `/_test/tokens`.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import httpx

ROOT = Path(__file__).parents[2]
GRACE_SECONDS = 15
SCOPES = ("email", "files.read", "openid", "profile")
REDIRECT_URI = "http://127.0.0.1:9/callback"
MODULE = "tests.support.dot_site"


class DotServer:
    """The server process; use it as a context manager."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.issuer = ""
        self.client_id = ""
        self.client_secret = ""

    def __enter__(self) -> Self:
        self._process = subprocess.Popen(
            [sys.executable, "-W", "ignore", "-m", MODULE, self._folder],
            cwd=ROOT,
            env={**os.environ, "COVERAGE_PROCESS_START": ""},
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )
        assert self._process.stdout is not None
        said: dict[str, str] = json.loads(self._process.stdout.readline())
        self.issuer = said["issuer"]
        self.client_id = said["client_id"]
        self.client_secret = said["client_secret"]
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._process.kill()
        self._process.communicate()

    def grant(self, user: str = "alice") -> str:
        """Return a refresh token of `user`, with all scopes."""
        return str(self._ask("grant", user=user)["refresh_token"])

    def age(self, seconds: float) -> None:
        """Let every rotation so far lie `seconds` further back."""
        self._ask("age", seconds=str(seconds))

    def tokens(self, user: str) -> dict[str, Any]:
        """Return what the server has of `user`.

        `live`: refresh tokens that have not been revoked; `rotated`: those that have;
        `access`: how many access tokens there are.
        """
        return self._ask("tokens", user=user)

    def code(self, url: str) -> dict[str, str]:
        """Follow an authorization URL as alice's browser; return the callback's query.

        Logging in and consenting happen by themselves.
        """
        with httpx.Client() as browser:
            response = browser.get(url)
            while response.status_code in {301, 302}:
                target = response.headers["location"]
                if target.startswith(REDIRECT_URI):
                    return dict(httpx.URL(target).params)
                response = browser.get(httpx.URL(url).join(target))
        raise AssertionError(response.status_code)

    def _ask(self, what: str, **form: str) -> dict[str, Any]:
        response = httpx.post(f"{self.issuer}/_test/{what}", data=form)
        answer: dict[str, Any] = response.raise_for_status().json()
        return answer
