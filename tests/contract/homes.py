"""Homes of a broker whose ledger is a schema."""

from __future__ import annotations

from dataclasses import dataclass

from tests.broker.scene import Home, toml


@dataclass
class PgHome(Home):
    """A home whose ledger is a schema."""

    url: str = ""
    schema: str = ""

    def text(self) -> str:
        where = f"[ledger]\nurl = {toml(self.url)}\nschema = {toml(self.schema)}"
        return f"{super().text()}\n{where}"
