"""docs/examples/mcp_server.py: an MCP client, the server, a broker, and Nextcloud.

The example, the broker and the server behind them are processes or threads of their
own, and speak HTTP.
"""

from __future__ import annotations

import socket
import subprocess
import sys
from collections.abc import AsyncGenerator, Generator
from contextlib import AsyncExitStack, asynccontextmanager, closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from subprocess import Popen
from typing import cast

import anyio
import httpx
import httpx2
import pytest
from mcp import Client
from mcp.client.streamable_http import streamable_http_client
from mcp.types import CallToolResult, TextContent

from grantledger.adapters.devserver import DevServer, DevSettings, User
from tests.broker.scene import Home, Scene, toml
from tests.cli.scene import Shell
from tests.house.tree import ROOT
from tests.http.scene import HASH, SECRET, rules
from tests.http.test_serving import ISSUER, listening
from tests.support.fault_proxy import FaultProxy

EXAMPLE = ROOT / "docs/examples/mcp_server.py"
CALLER = f"""
[[http.clients]]
id = "mcp"
secret_hash = "{HASH}"
[[callers]]
id = "mcp"
providers = ["cloud"]
"""
USERS = (User("alice", "Alice Example"), User("bob", "Bob Example"))


def ended(process: Popen[str]) -> str:
    """End the process; return what it wrote."""
    process.terminate()
    out, err = process.communicate()
    return out + err


@dataclass
class Place:
    """What runs, and where."""

    scene: Scene
    shell: Shell
    url: str
    client_id: str
    said: list[str]

    def session(self, user: str, resource: str | None = None) -> str:
        """Return an access token of the user's login at the MCP server."""
        return self.scene.server.issue_session_token(
            user, self.client_id, ("openid",), resource=resource or self.url
        )

    async def ask(self, token: str, **arguments: object) -> CallToolResult:
        """Call the tool as an MCP client that holds this token."""
        bearer = {"Authorization": f"Bearer {token}"}
        async with httpx2.AsyncClient(headers=bearer) as http:
            transport = streamable_http_client(f"{self.url}/mcp", http_client=http)
            async with Client(transport) as client:
                return await client.call_tool("who_am_i", arguments)


def words(result: CallToolResult) -> tuple[bool, str]:
    said = cast("TextContent", result.content[0]).text
    return result.is_error, said.removeprefix("Error executing tool who_am_i: ")


def free_port() -> int:
    with closing(socket.socket()) as chosen:
        chosen.bind(("127.0.0.1", 0))
        return int(chosen.getsockname()[1])


@contextmanager
def example(home: Path, said: dict[str, object], kept: list[str]) -> Generator[None]:
    """Run the example until the end."""
    path = home / "mcp.toml"
    lines = [f"{name} = {toml(value)}" for name, value in said.items()]
    path.write_text("\n".join(lines), encoding="utf-8")
    process = subprocess.Popen(
        [sys.executable, EXAMPLE, path],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        assert process.stderr is not None
        for line in process.stderr:
            kept.append(line)
            if "Uvicorn running" in line:
                break
        else:
            pytest.fail("".join(kept))
        yield
    finally:
        kept.append(ended(process))


@asynccontextmanager
async def place(tmp_path: Path) -> AsyncGenerator[Place]:
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    async with AsyncExitStack() as stack:
        said = DevSettings(refresh_token_seconds=86_400, users=USERS, resources=(url,))
        server = stack.enter_context(DevServer("B", said))
        proxy = stack.enter_context(FaultProxy(server.issuer))
        home = Home(tmp_path, callers=rules(ISSUER, extra=CALLER))
        scene = Scene(home, server, proxy)
        scene.configure()
        async with scene.open():
            pass
        home.write()
        shell = Shell(tmp_path)
        broker = shell.start("serve")
        kept: list[str] = []
        stack.callback(lambda: kept.append(ended(broker)))
        address = await anyio.to_thread.run_sync(listening, broker)
        here = server.state.register_client(resource_url=url)
        assert here.client_secret is not None
        settings: dict[str, object] = {
            "url": url,
            "port": port,
            "issuer": server.issuer,
            "introspection_url": f"{server.base_url}/introspect",
            "introspection_client": [here.client_id, here.client_secret],
            "broker_url": address,
            "broker_client": ["mcp", SECRET],
            "provider": "cloud",
            "userinfo_url": f"{server.base_url}/userinfo",
        }
        stack.enter_context(example(tmp_path, settings, kept))
        yield Place(scene, shell, url, scene.client.client_id, kept)


async def test_a_tool_calls_nextcloud_for_the_user_who_is_logged_in(
    tmp_path: Path,
) -> None:
    async with place(tmp_path) as here:
        alice = here.session("alice")
        answered = await here.ask(alice)
        assert words(answered) == (False, "Nextcloud knows you as Alice Example.")
        # An argument that names somebody is no identity.
        again = await here.ask(here.session("bob"), user="alice", subject="alice")
        assert words(again) == (
            True,
            "You have not connected Nextcloud yet. Connect it first.",
        )
        history = here.shell.json("history", "cloud", "alice")["history"]
        shown = [str(line) for line in history if "mcp" in str(line)]
        assert shown
        assert "MCP tool who_am_i" in shown[-1]
        here.shell.run("revoke", "cloud", "alice")
        refused = await here.ask(alice)
        assert words(refused) == (
            True,
            "Your consent was withdrawn. Connect Nextcloud again.",
        )
        # A token for something else, or none, is nobody's.
        for token in (here.session("alice", "https://other.example"), "x"):
            async with httpx.AsyncClient() as http:
                bearer = {"Authorization": f"Bearer {token}"}
                said = await http.post(f"{here.url}/mcp", headers=bearer, json={})
            assert said.status_code == 401
    written = "".join(here.said)
    assert alice not in written
    assert SECRET not in written
