"""A short story over a real store and server, and bundles of it."""

from __future__ import annotations

import asyncio
import zipfile
from collections.abc import Generator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path
from uuid import UUID

from grantledger.adapters.bootstrap.bundle import placed
from grantledger.adapters.bootstrap.evidence import Evidence, make_evidence
from grantledger.adapters.devserver import DevServer, DevSettings
from grantledger.domain.audit_access import AuditUse
from grantledger.domain.errors import GrantledgerError
from grantledger.domain.evidence import EvidenceAsked
from grantledger.domain.pruning import prune
from grantledger.domain.requests import Caller
from grantledger.domain.values import (
    ActorKind,
    GrantKey,
    Outcome,
    RevocationReason,
    Secret,
)
from tests.broker.scene import Home, Life, Scene
from tests.support.fault_proxy import FaultProxy

ATTACK = "<script>document.title='owned'</script>"
REASON = '"><img src=x onerror=alert(1)> \N{RIGHT-TO-LEFT OVERRIDE}moc.live'
AUDITOR = Caller("cli:auditor", ActorKind.ADMIN)
CALLER = Caller(
    "scanner", act_chain=("agent-7",), peer_ip="192.0.2.7", user_agent=ATTACK
)
NAMES = ("grant", "token", "subject", "erasure", "window", "whole")


@dataclass
class Made:
    """Where the bundles are, and what they are about.

    Attributes:
        hashes: of all leaves.
        secrets: every token that was issued or stored; none of them may be in a bundle.
    """

    folder: Path
    key: str = ""
    alice: UUID = field(default_factory=lambda: UUID(int=0))
    erased: UUID = field(default_factory=lambda: UUID(int=0))
    hashes: list[bytes] = field(default_factory=list[bytes])
    secrets: list[str] = field(default_factory=list[str])
    bundles: dict[str, Evidence] = field(default_factory=dict[str, Evidence])

    def of(self, name: str) -> Path:
        return self.folder / name


async def tell(scene: Scene, made: Made) -> None:
    """Let it happen, and make a bundle of each kind."""
    async with scene.open() as life:
        # Leaves of nobody's business come first.
        await life.token()
        start = life.opened.clock.now()
        await _theft(life, made)
        made.key = await life.opened.guard.verifier_key()
        for name, asked in _asked(made, start).items():
            with placed(made.of(name), start) as directory:
                made.bundles[name] = await make_evidence(
                    life.opened, AUDITOR, asked, directory
                )
        await _pruned(life, made, start)
        zipped = made.folder / "window.zip"
        with placed(zipped, start) as directory:
            asked = _asked(made, start)["window"]
            await make_evidence(life.opened, AUDITOR, asked, directory)
        leaves = await life.opened.ledger.published.leaves(0, 1_000)
        made.hashes = [leaf.hashed for leaf in leaves]


async def _theft(life: Life, made: Made) -> None:
    key = GrantKey("cloud", "bob<b>")
    scene, broker = life.scene, life.broker
    grant = await life.provision(scene.consent(key=key))
    made.alice = grant.id
    scene.key = key
    handed = await life.token(caller=CALLER, reason=REASON)
    made.secrets.append(handed.access_token.reveal())
    with suppress(GrantledgerError):
        await life.token(scopes=("admin",), caller=CALLER)
    await life.rotate()
    handed = await life.token(caller=CALLER)
    made.secrets.append(handed.access_token.reveal())
    await broker.revoke(
        AUDITOR, key, reason=RevocationReason.INCIDENT, reason_text=REASON, ticket="T-1"
    )
    gone = GrantKey("cloud", "carol")
    erased = await life.provision(scene.consent(key=gone))
    scene.key = gone
    await life.token(caller=CALLER)
    made.erased = erased.id
    await broker.erase(AUDITOR, gone, abandon=True)
    made.secrets += scene.tokens


async def _pruned(life: Life, made: Made, start: datetime) -> None:
    """Prune refusals, then make a bundle of the time before that."""
    opened = life.opened
    until = opened.clock.now()
    await life.broker.audit_access.record(AUDITOR, AuditUse.READ, "after the time")
    await prune(
        opened.ledger,
        opened.ledger,
        lambda: life.env.context(AUDITOR.actor, "prune-1"),
        before=opened.clock.now(),
        outcomes=(Outcome.DENIED,),
        reason="too old",
    )
    asked = EvidenceAsked(recorded_from=start, recorded_until=until)
    with placed(made.of("pruned"), start) as directory:
        made.bundles["pruned"] = await make_evidence(opened, AUDITOR, asked, directory)


def _asked(made: Made, start: datetime) -> dict[str, EvidenceAsked]:
    return {
        "grant": EvidenceAsked(grant_id=made.alice),
        "token": EvidenceAsked(token=Secret(made.secrets[0])),
        "subject": EvidenceAsked(provider="cloud", subject="bob<b>"),
        "erasure": EvidenceAsked(erasure=made.erased),
        "window": EvidenceAsked(recorded_from=start),
        "whole": EvidenceAsked(
            grant_id=made.alice,
            recorded_until=start + timedelta(days=1),
            complete=True,
        ),
    }


@contextmanager
def sqlite_scene(folder: Path) -> Generator[Scene]:
    """Yield a scene whose ledger is a file."""
    settings = DevSettings(refresh_token_seconds=86_400)
    with DevServer("B", settings) as server, FaultProxy(server.issuer) as proxy:
        scene = Scene(Home(folder), server, proxy)
        scene.configure()
        yield scene


def told(scene: Scene, folder: Path) -> Made:
    """Tell the story in an event loop of its own."""
    made = Made(folder)
    asyncio.run(tell(scene, made))
    return made


def unpacked(packed: Path, target: Path) -> Path:
    """Unpack a zip; return where."""
    with zipfile.ZipFile(packed) as file:
        file.extractall(target)
    return target
