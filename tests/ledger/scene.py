"""A ledger file with its ring and clocks, and grants arranged by domain commands."""

from __future__ import annotations

import asyncio
import os
import sqlite3
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager, closing
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

from grantledger.adapters.keys.clock import RandomIds, SystemClock
from grantledger.adapters.keys.ring import KeyRing
from grantledger.adapters.ledger import datastore as files
from grantledger.adapters.ledger.sqlite_ledger import SqliteLedger
from grantledger.adapters.ledger.stored_ledger import StoredLedger
from grantledger.domain.answers import TokenAnswer
from grantledger.domain.context import Context
from grantledger.domain.grant_state import Intent
from grantledger.domain.journal import AccessEntry, EntryPrivate
from grantledger.domain.ports import Clock
from grantledger.domain.provider import ProviderRules
from grantledger.domain.user_grant import Consent, UserGrant
from grantledger.domain.values import (
    AccessToken,
    Actor,
    ActorKind,
    GrantKey,
    Outcome,
    Purpose,
    RefreshToken,
    RevocationReason,
    Source,
    TokenFingerprint,
    TokenKind,
)

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
RULES = ProviderRules(name="cloud", issuer="https://as.example", client_id="broker")
ACTOR = Actor("scanner", ActorKind.SERVICE, peer_ip="192.0.2.7")
CANARY = "canary"


class SetClock:
    """Both clocks stand until they are moved."""

    def __init__(self) -> None:
        self.at = NOW
        self.seconds = 1000.0

    def now(self) -> datetime:
        return self.at

    def monotonic(self) -> float:
        return self.seconds

    def move(self, seconds: float) -> None:
        self.at += timedelta(seconds=seconds)
        self.seconds += seconds


def mark(kind: TokenKind, token: str) -> TokenFingerprint:
    return TokenFingerprint(f"hmac-sha256:test:{kind}:{token}")


def ctx(at: datetime = NOW) -> Context:
    return Context(at, uuid4, "req-1", "node-1", ACTOR, "p1")


def new_grant(subject: str = "alice", refresh: str = "rt1") -> UserGrant:
    """Return a grant of this user with its first consent pending."""
    return UserGrant.provision(
        ctx(),
        RULES,
        uuid4(),
        Consent(
            key=GrantKey("cloud", subject),
            client_id="broker",
            flow="authorization_code",
            scopes=("files.read", "openid"),
            refresh_token=RefreshToken(refresh),
            audience="cloud",
        ),
        mark,
    )


def intended(grant: UserGrant, at: datetime = NOW) -> tuple[UserGrant, Intent]:
    """Return a draft with the intent to redeem pending, and the intent."""
    draft = grant.fork()
    intent = draft.intend(
        ctx(at),
        RULES,
        purpose=Purpose.EXCHANGE,
        scopes=("files.read",),
        audience="cloud",
        resource=None,
    )
    return draft, intent


def answered(
    grant: UserGrant, intent: Intent, refresh: str = "rt2", access: str = "at2"
) -> UserGrant:
    """Return a draft with the server's good answer pending."""
    draft = grant.fork()
    answer = TokenAnswer(
        NOW,
        refresh_token=RefreshToken(refresh),
        access_token=AccessToken(access),
        expires_in=900,
    )
    draft.answered(ctx(), RULES, intent.attempt_id, answer, mark)
    return draft


def revoked(grant: UserGrant) -> UserGrant:
    """Return a draft with its revocation pending."""
    draft = grant.fork()
    draft.revoke(
        ctx(), RULES, reason=RevocationReason.OPERATOR, reason_text="off", ticket="T-1"
    )
    return draft


def hand_out(grant: UserGrant, caller: str = "scanner", **said: Any) -> AccessEntry:  # noqa: ANN401 - of its field
    """Return the entry of a token handed out on the grant as it stands."""
    entry = AccessEntry(
        at=NOW,
        outcome=Outcome.HANDED_OUT,
        caller=caller,
        request_id=uuid4().hex,
        provider="cloud",
        grant_id=grant.id,
        grant_version=grant.version,
        generation=1,
        token_ref=1,
        source=Source.CACHED,
        expires_at=NOW + timedelta(minutes=5),
        private=EntryPrivate(actor=ACTOR),
    )
    for name, value in said.items():
        setattr(entry, name, value)
    return entry


def denial(caller: str = "scanner", **said: Any) -> AccessEntry:  # noqa: ANN401 - of its field
    """Return the entry of a refusal where no grant is known."""
    entry = AccessEntry(
        at=NOW,
        outcome=Outcome.DENIED,
        caller=caller,
        request_id=uuid4().hex,
        provider="cloud",
        reason="no_rule",
        private=EntryPrivate(subject=CANARY),
    )
    for name, value in said.items():
        setattr(entry, name, value)
    return entry


@dataclass
class Scene:
    """Where one ledger stands, and what opens it."""

    path: Path
    ring: KeyRing = field(default_factory=lambda: KeyRing.generate(os.urandom, NOW))
    clock: Clock = field(default_factory=SystemClock)

    def make(self) -> Scene:
        files.create(self.path)
        return self

    def open(self, **options: Any) -> SqliteLedger:  # noqa: ANN401 - whatever `SqliteLedger.open` takes
        return SqliteLedger.open(
            self.path,
            options.pop("ring", self.ring),
            options.pop("clock", self.clock),
            RandomIds(),
            node=options.pop("node", "node-1"),
            random=os.urandom,
            **options,
        )

    @asynccontextmanager
    async def opened(self, **options: Any) -> AsyncGenerator[SqliteLedger]:  # noqa: ANN401 - whatever `SqliteLedger.open` takes
        ledger = self.open(**options)
        try:
            yield ledger
        finally:
            await ledger.close()

    def open_once(self) -> None:
        """Open the ledger and close it, so that it knows its ring's keys."""
        asyncio.run(self.open().close())

    def sql(self, statement: str, *values: object) -> list[Any]:
        """Run a statement behind the ledger's back, as somebody with the file can."""
        with closing(sqlite3.connect(self.path)) as connection:
            rows = connection.execute(statement, values).fetchall()
            connection.commit()
        return rows

    def files(self) -> dict[str, bytes]:
        """Return what is stored, by file; the shared memory of locks is left out."""
        found = sorted(self.path.parent.glob(f"{self.path.name}*"))
        return {p.name: p.read_bytes() for p in found if not p.name.endswith("-shm")}


async def stored(ledger: StoredLedger, grant_id: UUID) -> UserGrant:
    """Return the grant as the ledger holds it."""
    grant = await ledger.get(grant_id)
    assert grant is not None
    return grant
