"""A scene whose ledger is a schema of a PostgreSQL database."""

from __future__ import annotations

from collections.abc import Generator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from grantledger.adapters.devserver import DevServer, DevSettings
from grantledger.adapters.keys.ring import KeyRing
from tests.broker.scene import Home, Scene, toml
from tests.contract.stores import PostgresStore
from tests.support.fault_proxy import FaultProxy

BUDGET_SECONDS = 5.0


@dataclass
class PgHome(Home):
    """A home whose ledger is a schema."""

    url: str = ""
    schema: str = ""
    pooler: str = "none"
    listen_url: str = ""
    maintenance_url: str = ""

    @property
    def spool(self) -> list[Path]:
        """The answers that wait on disk."""
        return sorted((self.path / "grantledger.spool").glob("*"))

    def text(self) -> str:
        said = {
            "url": self.url,
            "schema": self.schema,
            "pooler": self.pooler,
            "listen_url": self.listen_url,
            "maintenance_url": self.maintenance_url,
        }
        lines = [f"{name} = {toml(value)}" for name, value in said.items() if value]
        return "\n".join([super().text(), "[ledger]", *lines])


@contextmanager
def pg_scene(
    folder: Path,
    store: PostgresStore,
    *,
    server: Mapping[str, Any] | None = None,
    pooled_at: str | None = None,
    **said: object,
) -> Generator[Scene]:
    """Yield a scene on the store's schema; its servers stop at the end.

    Args:
        folder: for the settings and the key ring.
        store: whose schema it is; from now on it opens with the scene's keys.
        pooled_at: how the ledger is reached through a pooler in transaction mode.
        server: settings of the development server that are not usual.
        said: of the provider; the rest is usual.
    """
    with ExitStack() as stack:
        usual: dict[str, Any] = {"refresh_token_seconds": 86_400}
        chosen = DevSettings(**usual | dict(server or {}))
        dev = stack.enter_context(DevServer("B", chosen))
        proxy = stack.enter_context(FaultProxy(dev.issuer))
        home = PgHome(
            folder,
            url=pooled_at or store.conninfo,
            schema=store.name,
            pooler="transaction" if pooled_at else "none",
        )
        store.ring = KeyRing.load(folder / "keyring.json")
        scene = Scene(home, dev, proxy)
        scene.configure(**{"http_budget_seconds": BUDGET_SECONDS} | said)
        yield scene
