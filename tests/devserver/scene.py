"""A running server, its clock, and a client that speaks HTTP with it."""

from __future__ import annotations

import base64
import hashlib
from dataclasses import dataclass, field
from typing import Any, Protocol
from urllib.parse import parse_qsl, urlsplit

import httpx

from grantledger.adapters.devserver import Client, DevServer, IssuedGrant, Profile

CALLBACK = "http://127.0.0.1:9/callback?tenant=one"
VERIFIER = "verifier-" + "v" * 40
CHALLENGE = (
    base64.urlsafe_b64encode(hashlib.sha256(VERIFIER.encode()).digest())
    .rstrip(b"=")
    .decode()
)
RESOURCE = "https://files.example.org/api"
EXCHANGE = "urn:ietf:params:oauth:grant-type:token-exchange"
ACCESS_TOKEN = "urn:ietf:params:oauth:token-type:access_token"
OFFLINE = ("openid", "profile", "email", "offline_access")


@dataclass
class MovableClock:
    """UNIX seconds that pass only when told to."""

    now: float = 1_800_000_000.0

    def __call__(self) -> float:
        return self.now

    def advance(self, seconds: float) -> None:
        self.now += seconds


class Start(Protocol):
    """Starts a server that stops when the test ends."""

    def __call__(self, profile: Profile = "B", **settings: object) -> Scene: ...


@dataclass
class Scene:
    """One server and its only client, confidential, by client_secret_post."""

    server: DevServer
    clock: MovableClock
    http: httpx.Client
    client: Client = field(init=False)

    def __post_init__(self) -> None:
        self.client = self.server.state.register_client(
            redirect_uris=(CALLBACK,), name="Example"
        )

    def url(self, name: str) -> str:
        return f"{self.server.base_url}/{name}"

    def credentials(self) -> dict[str, str]:
        return {
            "client_id": self.client.client_id,
            "client_secret": self.client.client_secret or "",
        }

    def token(self, **parameters: str) -> httpx.Response:
        form = {**self.credentials(), **parameters}
        return self.http.post(self.url("token"), data=form)

    def refresh(self, refresh_token: str | None, **parameters: str) -> httpx.Response:
        return self.token(
            grant_type="refresh_token",
            refresh_token=refresh_token or "",
            **parameters,
        )

    def exchange(self, subject_token: str, **parameters: str) -> httpx.Response:
        base = {
            "grant_type": EXCHANGE,
            "subject_token": subject_token,
            "subject_token_type": ACCESS_TOKEN,
            "resource": RESOURCE,
        }
        return self.token(**(base | parameters))

    def grant(
        self, scopes: tuple[str, ...] = OFFLINE, *, as_jwt: bool | None = None
    ) -> IssuedGrant:
        return self.server.issue_grant(
            "alice", self.client.client_id, scopes, as_jwt=as_jwt
        )

    def authorize(self, **changes: str | None) -> httpx.Response:
        """Send an authorization request; None takes a parameter away."""
        parameters: dict[str, str | None] = {
            "response_type": "code",
            "client_id": self.client.client_id,
            "redirect_uri": CALLBACK,
            "scope": " ".join(OFFLINE),
            "state": "st&te",
            "nonce": "n-1",
            "code_challenge": CHALLENGE,
            "code_challenge_method": "S256",
            "login_hint": "alice",
        }
        sent = {k: v for k, v in (parameters | changes).items() if v is not None}
        return self.http.get(self.url("authorize"), params=sent)

    def code(self, **changes: str | None) -> str:
        return landed(self.authorize(**changes))["code"]

    def redeem(self, code: str, **parameters: str) -> httpx.Response:
        base = {
            "grant_type": "authorization_code",
            "code": code,
            "redirect_uri": CALLBACK,
            "code_verifier": VERIFIER,
        }
        return self.token(**(base | parameters))

    def userinfo(self, access_token: str) -> httpx.Response:
        headers = {"Authorization": f"Bearer {access_token}"}
        return self.http.get(self.url("userinfo"), headers=headers)

    def introspect(self, token: str, client: Client | None = None) -> dict[str, Any]:
        chosen = client or self.client
        response = self.http.post(
            self.url("introspect"),
            data={"token": token},
            auth=(chosen.client_id, chosen.client_secret or ""),
        )
        assert response.status_code == 200
        body: dict[str, Any] = response.json()
        return body

    def outcomes(self) -> list[str]:
        return [one.outcome for one in self.server.state.redemptions]


def landed(response: httpx.Response) -> dict[str, str]:
    """Return the query that a redirect brings to the client."""
    assert response.status_code == 302, response.text
    return dict(parse_qsl(urlsplit(response.headers["location"]).query))


def failure(response: httpx.Response) -> tuple[int, str, str]:
    """Return status, error and description of an OAuth refusal."""
    body = response.json()
    return response.status_code, body["error"], body["error_description"]
