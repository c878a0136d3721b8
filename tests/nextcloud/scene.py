"""A deployment of the earlier broker's kind: server, client, environment."""

from __future__ import annotations

import sqlite3
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import asynccontextmanager, closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypedDict

import pytest
from cryptography.fernet import Fernet

from grantledger.adapters.devserver import Client, DevServer, sha256
from grantledger.domain.grant_state import GrantState
from grantledger.domain.values import GrantKey
from grantledger.nextcloud import LedgerTokenStorage, TokenBrokerService

RESOURCE = "https://cloud.example.org/api"
SCOPES = ("email", "files.read", "notes.read", "offline_access", "openid", "profile")
ON_BOTH_STORES = pytest.mark.parametrize("store", ["sqlite", "postgres"], indirect=True)
EARLIER_TABLE = """
CREATE TABLE refresh_tokens (
    user_id TEXT PRIMARY KEY, encrypted_token BLOB NOT NULL, expires_at INTEGER,
    created_at INTEGER NOT NULL, updated_at INTEGER NOT NULL, user_profile TEXT,
    flow_type TEXT DEFAULT 'hybrid', token_audience TEXT DEFAULT 'nextcloud',
    provisioned_at INTEGER, provisioning_client_id TEXT, scopes TEXT)
"""
FIRST_TABLE = """
CREATE TABLE refresh_tokens (
    user_id TEXT PRIMARY KEY, encrypted_token BLOB NOT NULL, expires_at INTEGER,
    created_at INTEGER NOT NULL, updated_at INTEGER NOT NULL)
"""


class Said(TypedDict, total=False):
    """What an application may say of a consent."""

    flow_type: str
    token_audience: str
    provisioning_client_id: str
    scopes: Sequence[str]


@dataclass
class Scene:
    """A running server, its client, and a directory for the deployment's files."""

    server: DevServer
    directory: Path
    environ: dict[str, str] = field(default_factory=dict[str, str])
    client: Client = field(init=False)

    def __post_init__(self) -> None:
        self.client = self.server.state.register_client(name="Example")
        self.environ = {
            "NEXTCLOUD_HOST": self.server.issuer,
            "OIDC_DISCOVERY_URL": self.discovery_url,
            "NEXTCLOUD_OIDC_CLIENT_ID": self.client.client_id,
            "NEXTCLOUD_OIDC_CLIENT_SECRET": self.secret,
            "NEXTCLOUD_RESOURCE_URI": RESOURCE,
            "TOKEN_STORAGE_DB": str(self.database),
        } | self.environ

    @property
    def database(self) -> Path:
        return self.directory / "tokens.db"

    @property
    def discovery_url(self) -> str:
        return f"{self.server.issuer}/.well-known/openid-configuration"

    @property
    def secret(self) -> str:
        assert self.client.client_secret is not None
        return self.client.client_secret

    def storage(self, **environ: str) -> LedgerTokenStorage:
        return LedgerTokenStorage.from_env(self.environ | environ)

    def service(
        self,
        storage: LedgerTokenStorage,
        *,
        client_secret: str | None = None,
        cache_ttl: float = 300,
        cache_early_refresh: float = 30,
    ) -> TokenBrokerService:
        return TokenBrokerService(
            storage=storage,
            oidc_discovery_url=self.discovery_url,
            nextcloud_host=self.server.issuer,
            client_id=self.client.client_id,
            client_secret=client_secret or self.secret,
            cache_ttl=cache_ttl,
            cache_early_refresh=cache_early_refresh,
        )

    def service_from_environment(
        self, storage: LedgerTokenStorage
    ) -> TokenBrokerService:
        """Make the service as an application does that reads its environment."""
        return TokenBrokerService(
            storage=storage,
            oidc_discovery_url=self.environ["OIDC_DISCOVERY_URL"],
            nextcloud_host=self.environ["NEXTCLOUD_HOST"],
            client_id=self.environ["NEXTCLOUD_OIDC_CLIENT_ID"],
            client_secret=self.environ["NEXTCLOUD_OIDC_CLIENT_SECRET"],
        )

    @asynccontextmanager
    async def running(self, **environ: str) -> AsyncGenerator[Running]:
        """Open storage and service as the application does, and close them."""
        storage = self.storage(**environ)
        await storage.initialize()
        service = self.service(storage)
        try:
            yield Running(self, storage, service)
        finally:
            await service.close()

    def refresh_token(self, user: str = "alice", scopes: Sequence[str] = SCOPES) -> str:
        """Return what the server issued for a consent of this user."""
        grant = self.server.issue_grant(user, self.client.client_id, tuple(scopes))
        assert grant.refresh_token is not None
        return grant.refresh_token

    @property
    def redemptions(self) -> int:
        """How many refresh tokens have reached the server."""
        return len(self.server.state.redemptions)

    def alive(self, token: str | None) -> bool:
        """Tell whether the server takes this access token."""
        assert token is not None
        return self.server.state.live_access(token) is not None

    def redeemed(self, refresh_token: str) -> bool:
        """Tell whether the server has seen this refresh token."""
        seen = {one.sha256 for one in self.server.state.redemptions}
        return sha256(refresh_token) in seen


@dataclass
class Running:
    """An application's two objects over one scene."""

    scene: Scene
    storage: LedgerTokenStorage
    service: TokenBrokerService

    async def consent(self, user: str = "alice", scopes: Sequence[str] = SCOPES) -> str:
        """Store a fresh consent; return its refresh token."""
        token = self.scene.refresh_token(user, scopes)
        await self.storage.store_refresh_token(user, token, scopes=scopes)
        return token

    async def grant(self, user: str = "alice") -> GrantState:
        """Return the grant as the ledger has it."""
        opened = await self.storage.shared.get()
        grant = await opened.broker.status(GrantKey("nextcloud", user))
        assert grant is not None
        return grant.state

    async def events(self, user: str = "alice") -> list[str]:
        """Return what happened, the oldest first, as `event resource`."""
        lines = await self.storage.get_audit_logs(user, limit=1000)
        return [f"{line['event']} {line['resource']}" for line in reversed(lines)]


def earlier_database(
    path: Path,
    key: bytes,
    tokens: Mapping[str, str],
    facts: Mapping[str, object] | None = None,
    *,
    table: str = EARLIER_TABLE,
) -> None:
    """Write a database as the earlier broker does.

    Args:
        path: the file.
        key: the Fernet key.
        tokens: refresh token by user id.
        facts: further columns, the same for every user.
        table: its schema.
    """
    fernet = Fernet(key)
    values = {"created_at": 1_700_000_000, "updated_at": 1_700_000_100} | dict(
        facts or {}
    )
    names = ["user_id", "encrypted_token", *values]
    with closing(sqlite3.connect(path)) as connection:
        connection.execute(table)
        for user, token in tokens.items():
            row = [user, fernet.encrypt(token.encode()), *values.values()]
            marks = ", ".join("?" * len(row))
            connection.execute(
                f"INSERT INTO refresh_tokens ({', '.join(names)}) VALUES ({marks})",  # noqa: S608 - names of this file
                row,
            )
        connection.commit()


def change(path: Path, sql: str, *values: object) -> None:
    """Run one statement on a database."""
    with closing(sqlite3.connect(path)) as connection:
        connection.execute(sql, values)
        connection.commit()
