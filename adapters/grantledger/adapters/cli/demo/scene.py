"""Everything that the demo plays on: server, fresh ledger, settings, callback."""

from __future__ import annotations

import json
import tempfile
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

from grantledger.adapters.bootstrap import OpenBroker, open_broker
from grantledger.adapters.cli.callback import Callback, listening
from grantledger.adapters.cli.files import replace, write_private
from grantledger.adapters.cli.workplace import Workplace, make
from grantledger.adapters.devserver import DevServer, DevSettings, Profile, sha256
from grantledger.adapters.settings import load
from grantledger.domain.errors import ConfigurationError
from grantledger.domain.values import GrantKey

PROVIDER = "nextcloud"
USER = "alice"
SCOPES = ("offline_access", "openid", "profile")
AUDIENCE = "notes"
RESOURCE = "https://notes.example/api"
FRONT = "notes-app"
ACCESS_TOKEN_SECONDS = 3
RELEASES = {"A": "2.0.9", "B": "2.5.1"}
PRESETS = {"A": "nextcloud-2.0", "B": "nextcloud-2.5"}


@dataclass(slots=True)
class Scene:
    """What the demo plays on.

    Attributes:
        seen: SHA-256 of every token that the demo itself has held.
    """

    profile: Profile
    server: DevServer
    place: Workplace
    callback: Callback
    opened: OpenBroker
    client_id: str
    key: GrantKey = field(default_factory=lambda: GrantKey(PROVIDER, USER))
    tokens: list[str] = field(default_factory=list[str], repr=False)

    @property
    def release(self) -> str:
        """Which release of Nextcloud's OIDC app the server behaves like."""
        return RELEASES[self.profile]

    @property
    def has_extras(self) -> bool:
        """Whether this server knows token exchange and revocation."""
        return self.profile != "A"

    def still_taken(self, token: str) -> bool:
        """Tell whether the server would accept this access token now."""
        live = {record.sha256 for record in self.server.state.live_access_tokens}
        return sha256(token) in live


def directory_for(chosen: Path | None) -> Path:
    """Return the demo's directory: the one chosen, or a new one that is kept.

    Raises:
        ConfigurationError: the chosen one holds something.
    """
    if chosen is None:
        return Path(tempfile.mkdtemp(prefix="grantledger-demo-"))
    if chosen.exists() and (not chosen.is_dir() or any(chosen.iterdir())):
        raise ConfigurationError(
            f"{chosen} is not an empty directory; the demo overwrites nothing", "dir"
        )
    return chosen.absolute()


@asynccontextmanager
async def scene(profile: Profile, directory: Path) -> AsyncGenerator[Scene]:
    """Set everything up; on leaving, the server is gone and the files are kept."""
    place = await make(directory)
    settings = DevSettings(
        access_token_seconds=ACCESS_TOKEN_SECONDS,
        resources=(RESOURCE,),
        jwt_access_tokens=True,
    )
    with DevServer(profile, settings) as server:
        async with listening(0) as callback:
            client = server.state.register_client(
                redirect_uris=(callback.redirect_uri,),
                auth_method="client_secret_post",
                name="grantledger demo",
            )
            server.state.register_client(client_id=FRONT, name="the notes app")
            secret = directory / f"{PROVIDER}.client-secret"
            write_private(secret, f"{client.client_secret}\n")
            text = place.config.read_text(encoding="utf-8")
            replace(
                place.config,
                text + _provider(profile, server.issuer, client.client_id, secret.name),
            )
            async with open_broker(load(place.config)) as opened:
                yield Scene(profile, server, place, callback, opened, client.client_id)


def _provider(profile: Profile, issuer: str, client_id: str, secret: str) -> str:
    return f"""
# Written by the demo; its server is gone, its ledger is not.
[providers.{PROVIDER}]
issuer = {json.dumps(issuer)}
preset = {json.dumps(PRESETS[profile])}
client_id = {json.dumps(client_id)}
client_secret_file = {json.dumps(secret)}
auth_method = "client_secret_post"
scopes = {json.dumps(SCOPES)}
session_audiences = [{json.dumps(FRONT)}]
resources = {{ {AUDIENCE} = {json.dumps(RESOURCE)} }}
"""
