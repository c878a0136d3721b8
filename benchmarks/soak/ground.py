"""The ledger, the authorization server and the callers that a soak is made of."""

from __future__ import annotations

import getpass
import json
import subprocess
from collections.abc import Generator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from argon2 import PasswordHasher

from benchmarks.appends import check_durable, shipped_server
from benchmarks.http import AUDIENCE, Issuer
from benchmarks.soak.replicas import COMMAND
from grantledger.adapters.devserver import DevServer, DevSettings
from grantledger.adapters.devserver.records import Client

PROVIDER = "cloud"
SCOPES = ("email", "files.read", "offline_access", "openid", "profile")
ACCESS_SECONDS = 30
JOBS = ("job1", "job2", "job3", "job4")
SCANNERS = ("scanner1", "scanner2")
OPERATOR, AUDITOR = "operator", "auditor"
SECRET = "of a soak alone"  # noqa: S105 - nothing else is behind it
SETTINGS = """
[ledger]
url = {url}

[http]
listen = "127.0.0.1:0"

[[http.issuers]]
name = "idp"
issuer = {issuer}
audience = {audience}
{clients}
{callers}
[[callers]]
id = "idp:operator"
roles = ["operator"]

[[callers]]
id = "idp:auditor"
roles = ["auditor"]

[[callers]]
id = {me}
roles = ["auditor"]

[providers.cloud]
issuer = {server}
preset = "nextcloud-2.5"
client_id = {client_id}
client_secret_file = "cloud.secret"
auth_method = "client_secret_post"
scopes = {scopes}
http_budget_seconds = 5.0
takeover_margin_seconds = 2.0
cache_early_refresh_seconds = 5.0
"""


@dataclass(frozen=True)
class Ground:
    """What the replicas stand on.

    Attributes:
        config: of all replicas.
        shared: the replicas' files are one, as with SQLite.
    """

    folder: Path
    config: Path
    shared: bool
    server: DevServer
    client: Client
    issuer: Issuer

    def headers(self, caller: str) -> dict[str, str]:
        """Return how a caller with a JWT proves itself."""
        return {"Authorization": f"Bearer {self.issuer.token(caller)}"}

    def consented(self, subject: str) -> str:
        """Return the refresh token of a new consent."""
        grant = self.server.issue_grant(subject, self.client.client_id, SCOPES)
        assert grant.refresh_token is not None
        return grant.refresh_token


@contextmanager
def prepared(store: str) -> Generator[Ground]:
    """Yield an empty ledger and a server; both are gone afterwards.

    Args:
        store: `postgresql` or `sqlite`.
    """
    with ExitStack() as stack:
        folder = Path(stack.enter_context(TemporaryDirectory(prefix="gl-soak-")))
        settings = DevSettings(
            access_token_seconds=ACCESS_SECONDS, refresh_token_seconds=86_400
        )
        server = stack.enter_context(DevServer("B", settings))
        client = server.state.register_client()
        url = "sqlite:///grantledger.db"
        if store == "postgresql":
            url = stack.enter_context(shipped_server())
            check_durable(url)
        issuer = Issuer()
        home = folder / "home"
        _grantledger("init", "--dir", str(home))
        config = home / "grantledger.toml"
        config.write_text(_settings(url, issuer, server, client), encoding="utf-8")
        (home / "cloud.secret").write_text(client.client_secret or "", "utf-8")
        if store == "postgresql":
            _grantledger("migrate", "--config", str(config))
        shared = store != "postgresql"
        yield Ground(folder, config, shared, server, client, issuer)


def _settings(url: str, issuer: Issuer, server: DevServer, client: Client) -> str:
    # Cheap to prove: what a secret costs is not what is looked at here.
    hashed = PasswordHasher(time_cost=1, memory_cost=1024, parallelism=1).hash(SECRET)
    clients = "".join(
        f'\n[[http.clients]]\nid = "{one}"\nsecret_hash = "{hashed}"\n'
        for one in SCANNERS
    )
    callers = "".join(
        f'\n[[callers]]\nid = "{one}"\nproviders = ["{PROVIDER}"]\n'
        for one in (*(f"idp:{job}" for job in JOBS), *SCANNERS)
    )
    return SETTINGS.format(
        url=json.dumps(url),
        issuer=json.dumps(issuer.url),
        audience=json.dumps(AUDIENCE),
        clients=clients,
        callers=callers,
        me=json.dumps(f"cli:{getpass.getuser()}"),
        server=json.dumps(server.issuer),
        client_id=json.dumps(client.client_id),
        scopes=json.dumps(list(SCOPES)),
    )


def _grantledger(*arguments: str) -> None:
    line = [COMMAND, *arguments]
    subprocess.run(line, check=True, capture_output=True)  # noqa: S603 - our own line
