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

    def text(self) -> str:
        where = f"[ledger]\nurl = {toml(self.url)}\nschema = {toml(self.schema)}"
        return f"{super().text()}\n{where}"


@contextmanager
def pg_scene(
    folder: Path,
    store: PostgresStore,
    *,
    server: Mapping[str, Any] | None = None,
    **said: object,
) -> Generator[Scene]:
    """Yield a scene on the store's schema; its servers stop at the end.

    Args:
        folder: for the settings and the key ring.
        store: whose schema it is; from now on it opens with the scene's keys.
        server: settings of the development server that are not usual.
        said: of the provider; the rest is usual.
    """
    with ExitStack() as stack:
        usual: dict[str, Any] = {"refresh_token_seconds": 86_400}
        chosen = DevSettings(**usual | dict(server or {}))
        dev = stack.enter_context(DevServer("B", chosen))
        proxy = stack.enter_context(FaultProxy(dev.issuer))
        home = PgHome(folder, url=store.conninfo, schema=store.name)
        store.ring = KeyRing.load(folder / "keyring.json")
        scene = Scene(home, dev, proxy)
        scene.configure(**{"http_budget_seconds": BUDGET_SECONDS} | said)
        yield scene
