"""An MCP server whose tool calls Nextcloud for the user who is logged in to it.

    python docs/examples/mcp_server.py settings.toml

Who the user is comes from the access token that the MCP client presents, which
Nextcloud says is live, meant for this server, and whose. It never comes from an
argument of a tool: those are written by a model, and a model does what it reads.

The server holds no user's token. It is a caller of the broker, by id and secret, that
may act for those users whom the broker's policy names; each token that it gets is
recorded there with the tool's name. Settings, all of them needed:

    url = "https://mcp.example.org"            # this server; its tokens' audience
    port = 8000                                # on loopback, TLS before it
    issuer = "https://cloud.example.org"       # who logs its users in
    introspection_url = "https://cloud.example.org/apps/oidc/introspect"
    introspection_client = ["id", "secret"]
    broker_url = "https://broker.example.org"
    broker_client = ["mcp", "secret"]
    provider = "nextcloud"                     # as the broker calls it
    userinfo_url = "https://cloud.example.org/apps/oidc/userinfo"
"""

from __future__ import annotations

import sys
import tomllib
from functools import lru_cache
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx
import uvicorn
from mcp.server import MCPServer
from mcp.server.auth.middleware.auth_context import get_access_token
from mcp.server.auth.provider import AccessToken, TokenVerifier
from mcp.server.auth.settings import AuthSettings
from mcp.server.mcpserver.exceptions import ToolError
from mcp.server.transport_security import TransportSecuritySettings
from pydantic import AnyHttpUrl

from grantledger.client import BrokerAuth, BrokerClient, BrokerError, GrantAuth

USERS = 1000
WORDS = {
    "not_provisioned": "You have not connected Nextcloud yet. Connect it first.",
    "reauthorization_required": "Your consent is over. Connect Nextcloud again.",
    "revoked": "Your consent was withdrawn. Connect Nextcloud again.",
    "denied": "This server may not act for you. Ask whoever runs it.",
}
LATER = "Nextcloud cannot be asked now. Try again later."


class Introspection(TokenVerifier):
    """Has Nextcloud say whose token it is (RFC 7662)."""

    def __init__(self, http: httpx.AsyncClient, said: dict[str, Any]) -> None:
        self._http = http
        self._url: str = said["introspection_url"]
        self._client = httpx.BasicAuth(*said["introspection_client"])

    async def verify_token(self, token: str) -> AccessToken | None:
        """Return what is known of a live token, None of any other.

        That it is meant for this server is checked by the SDK, which compares
        `resource` with `resource_server_url`.
        """
        answer = await self._http.post(
            self._url, data={"token": token}, auth=self._client
        )
        answer.raise_for_status()
        found = answer.json()
        if found.get("active") is not True or not found.get("sub"):
            return None
        return AccessToken(
            token=token,
            client_id=found["client_id"],
            scopes=found.get("scope", "").split(),
            expires_at=found.get("exp"),
            resource=found.get("aud"),
            subject=found["sub"],
        )


class Nextcloud:
    """Calls Nextcloud for the user of the request."""

    def __init__(self, http: httpx.AsyncClient, said: dict[str, Any]) -> None:
        self._http = http
        self._provider: str = said["provider"]
        self._broker = BrokerClient(
            said["broker_url"], BrokerAuth(client=tuple(said["broker_client"]))
        )
        # One for each user and tool: they keep the tokens, until these are over.
        self._auth = lru_cache(USERS)(self._auth_of)

    def _auth_of(self, subject: str, tool: str) -> GrantAuth:
        return GrantAuth(
            self._broker, self._provider, subject, reason=f"MCP tool {tool}"
        )

    async def get(self, url: str, tool: str) -> httpx.Response:
        """Return the answer to a request in the user's name.

        Raises:
            ToolError: in words for the user.
        """
        user = get_access_token()
        if user is None or user.subject is None:
            raise ToolError("Nobody is logged in.")
        try:
            answer = await self._http.get(url, auth=self._auth(user.subject, tool))
            answer.raise_for_status()
        except BrokerError as refused:
            raise ToolError(WORDS.get(refused.code, LATER)) from refused
        except httpx.HTTPError as failed:
            raise ToolError(LATER) from failed
        return answer


def build_server(said: dict[str, Any]) -> MCPServer[Any]:
    """Return the server with its one tool."""
    http = httpx.AsyncClient()
    nextcloud = Nextcloud(http, said)
    server = MCPServer[Any](
        "nextcloud-example",
        auth=AuthSettings(
            issuer_url=AnyHttpUrl(said["issuer"]),
            resource_server_url=AnyHttpUrl(said["url"]),
            validate_token_resource=True,
        ),
        token_verifier=Introspection(http, said),
    )

    @server.tool()
    async def who_am_i() -> str:
        """Say whom Nextcloud takes the user for."""
        answer = await nextcloud.get(said["userinfo_url"], "who_am_i")
        claims = answer.json()
        return f"Nextcloud knows you as {claims.get('name', claims['sub'])}."

    return server


def main() -> None:
    """Serve until told to stop."""
    said = tomllib.loads(Path(sys.argv[1]).read_text(encoding="utf-8"))
    app = build_server(said).streamable_http_app(
        transport_security=TransportSecuritySettings(
            allowed_hosts=[urlsplit(str(said["url"])).netloc]
        )
    )
    uvicorn.run(app, host="127.0.0.1", port=said["port"])


if __name__ == "__main__":
    main()
