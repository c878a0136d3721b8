"""Where processes live and die: a ledger, a server of each profile, the wires."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Generator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import Self, cast

import msgspec

from grantledger.adapters.devserver import Client, DevServer, DevSettings, Profile
from grantledger.adapters.devserver.settings import User
from grantledger.adapters.keys.ring import KeyRing
from tests.broker.scene import PRESETS, RESOURCE, SCOPES, toml
from tests.contract.stores import PostgresStore, SqliteStore, Store
from tests.crash.operations import CALLBACK, Job
from tests.crash.wire import Victim, Wire
from tests.house.tree import ROOT

CROWDED = "postgresql, locked"
KINDS = ("sqlite", "postgresql", CROWDED)
PROFILES: tuple[Profile, ...] = ("A", "B", "G")
GRACE_SECONDS = 3600
"""No round of any machine outlasts it."""

BUDGET_SECONDS = 2.0
MARGIN_SECONDS = 2.0
LEASE_SECONDS = BUDGET_SECONDS + MARGIN_SECONDS


def subject(number: int) -> str:
    """Return the user whose grant a process lives on."""
    return f"user-{number}"


@dataclass
class Site:
    """One server, this broker's client there, and the wire between."""

    server: DevServer
    wire: Wire
    client: Client = field(init=False)

    def __post_init__(self) -> None:
        self.client = self.server.state.register_client(redirect_uris=(CALLBACK,))

    @property
    def name(self) -> str:
        return self.server.state.profile.lower()

    def table(self) -> str:
        """Return the provider's settings."""
        profile = self.server.state.profile
        said: dict[str, object] = {
            "issuer": self.server.issuer,
            "internal_base_url": self.wire.proxy.url,
            "client_id": self.client.client_id,
            "client_secret_file": f"{self.name}.secret",
            "preset": PRESETS[profile],
            "auth_method": "client_secret_post",
            "scopes": SCOPES,
            "http_budget_seconds": BUDGET_SECONDS,
            "takeover_margin_seconds": MARGIN_SECONDS,
            "resources": {"files": RESOURCE},
        }
        if profile == "A":
            said["exchange_strategy"] = "exchange-then-refresh"
        if profile == "G":
            seconds = float(GRACE_SECONDS)
            rule = {"rule": "retry_within_grace", "seconds": seconds}
            said["unknown_outcome"] = rule
        lines = [f"{name} = {toml(value)}" for name, value in said.items()]
        return "\n".join([f"[providers.{self.name}]", *lines])


@dataclass
class Ground:
    """One ledger and its servers.

    Attributes:
        kind: one of `KINDS`.
    """

    folder: Path
    kind: str
    store: Store
    sites: dict[str, Site]

    def __post_init__(self) -> None:
        self.store.ring.save(self.folder / "keyring.json")
        for name, site in self.sites.items():
            secret = site.client.client_secret or ""
            (self.folder / f"{name}.secret").write_text(secret, encoding="utf-8")
            self._write(self.config(name), site)
        self._write(self.config(), *self.sites.values())

    def config(self, name: str = "all") -> Path:
        """Return the settings with one provider, or with all."""
        return self.folder / f"{name}.toml"

    def _write(self, path: Path, *sites: Site) -> None:
        said: dict[str, object] = {
            # Each answer is looked at again before it leaves: a step of its own.
            "release_limit_seconds": 1e-9,
            # At the first refusal: no step depends on how fast the machine is.
            "spool_after_seconds": 0,
        }
        parts = ["[broker]", *(f"{key} = {toml(value)}" for key, value in said.items())]
        if isinstance(self.store, PostgresStore):
            parts += [
                "[ledger]",
                f"url = {toml(self.store.conninfo)}",
                f"schema = {toml(self.store.name)}",
            ]
        parts += [site.table() for site in sites]
        path.write_text("\n".join(parts), encoding="utf-8")

    def job(
        self,
        number: int,
        operation: str,
        provider: str,
        target: str = "",
        *,
        delay_seconds: float = 0.0,
        fault: str = "",
        first: bool = True,
    ) -> Job:
        """Return a job on a grant of its own, with what it needs from the server.

        Args:
            number: of the grant.
            operation: see `Job`.
            provider: whose grant.
            target: the point to die at, empty for none.
            delay_seconds: to die wherever it is by then; 0 for not.
            fault: see `faults`.
            first: False for a second process on the same grant.
        """
        site = self.sites[provider]
        who = subject(number)
        token = ""
        if first:
            grant = site.server.issue_grant(who, site.client.client_id, SCOPES)
            token = grant.refresh_token or ""
        session = ""
        if operation == "exchange":
            session = site.server.issue_session_token(who, site.client.client_id)
        return Job(
            config=self.config(provider),
            operation=operation,
            provider=provider,
            subject=who,
            token=token,
            session=session,
            client_id=site.client.client_id,
            trace=self.folder / f"{number}.{1 if first else 2}.points",
            target=target,
            delay_seconds=delay_seconds,
            out=self.folder / f"{number}.out",
            lease_seconds=LEASE_SECONDS,
            crowded=self.kind == CROWDED,
            fault=fault,
        )

    def recovery(self, subjects: tuple[tuple[str, str], ...]) -> Job:
        """Return the job of the fresh process that recovers everything."""
        return Job(
            config=self.config(),
            operation="recover",
            provider="",
            subject="",
            token="",
            session="",
            client_id="",
            trace=self.folder / "recovery.points",
            target="",
            out=self.folder / "recovery.out",
            lease_seconds=LEASE_SECONDS,
            subjects=subjects,
        )


@contextmanager
def grounds(kind: str, dsn: str, folder: Path, users: int) -> Generator[Ground]:
    """Make a ledger and start its servers.

    Args:
        kind: one of `KINDS`.
        dsn: of the PostgreSQL server.
        folder: for everything that is written; made here.
        users: how many grants at most.
    """
    folder.mkdir()
    ring = KeyRing.generate(os.urandom, datetime.now(UTC))
    store: Store
    if kind == "sqlite":
        store = SqliteStore(folder / "grantledger.db", ring)
    else:
        store = PostgresStore(dsn, ring).migrated()
    settings = DevSettings(
        resources=(RESOURCE,),
        refresh_token_seconds=86_400,
        grace_reissue_seconds=GRACE_SECONDS,
        users=tuple(User(subject(number)) for number in range(users)),
    )
    with ExitStack() as stack:
        sites: dict[str, Site] = {}
        for profile in PROFILES:
            server = stack.enter_context(DevServer(profile, settings))
            wire = Wire(server)
            stack.enter_context(wire.proxy)
            site = Site(server, wire)
            sites[site.name] = site
        yield Ground(folder, kind, store, sites)


@dataclass(frozen=True)
class Ended:
    """How a process ended: its exit status, or minus the signal."""

    pid: int
    status: int


class Forks:
    """A warm process of its own that forks the brokers; see `child`."""

    def __enter__(self) -> Self:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.crash.child"],
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._process.communicate(timeout=60)

    def run(self, job: Job, victim: Victim | None = None) -> Ended:
        """Return how a fork ended that does the job."""
        stdin, stdout = self._process.stdin, self._process.stdout
        assert stdin is not None
        assert stdout is not None
        text = json.dumps(cast("object", msgspec.to_builtins(job, enc_hook=str)))
        stdin.write(f"{text}\n")
        stdin.flush()
        pid = int(stdout.readline())
        if victim is not None:
            victim.is_process(pid)
        return Ended(pid, int(stdout.readline()))
