"""Everything that the use cases work with, handed in at start."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from grantledger.domain.audit import AuditTrail
from grantledger.domain.context import Context
from grantledger.domain.errors import InvalidRequest
from grantledger.domain.fleet import Fleet
from grantledger.domain.maintenance import ErasureList, HeldStore, Maintenance
from grantledger.domain.policy import Policy
from grantledger.domain.ports import (
    AccessJournal,
    AuthorizationServer,
    Clock,
    Duties,
    Fingerprinter,
    Ids,
    Ledger,
    Runner,
    Spool,
    TokenVerifier,
)
from grantledger.domain.provider import ProviderRules
from grantledger.domain.values import Actor, ActorKind


@dataclass(frozen=True, slots=True)
class Provider:
    """One authorization server: its rules, the way to it, and its keys."""

    rules: ProviderRules
    server: AuthorizationServer
    verifier: TokenVerifier | None = None


@dataclass(slots=True)
class Surroundings:
    """Everything that the use cases work with.

    Attributes:
        node: name of this replica.
        release_limit_seconds: an answer later than this after its commit is checked
            again.
        spool_after_seconds: an outcome that the ledger does not take is spooled.
        wait_seconds: how long a caller waits for a redemption at most.
        backup_days, archive_days: how long backups, and archived write-ahead logs,
            are kept; None where nobody said.
        maintenance, erasures: what erasing needs; without them it is refused.
        fleet: what is asked about many grants at once; without it that is refused.
        audit: likewise the audit trail.
        lives: likewise what legal holds are set in.
        elsewhere: where readings and refusals are recorded, where not in the ledger,
            which this login may only read.
    """

    ledger: Ledger
    duties: Duties
    clock: Clock
    ids: Ids
    fingerprints: Fingerprinter
    runner: Runner
    spool: Spool
    providers: Mapping[str, Provider]
    node: str
    policy: Policy = field(default_factory=Policy.open)
    release_limit_seconds: float = 1.0
    spool_after_seconds: float = 2.0
    wait_seconds: float = 45.0
    cache_grants: int = 3_000
    cache_bytes: int = 32_000_000
    backup_days: int | None = None
    archive_days: int | None = None
    maintenance: Maintenance | None = None
    erasures: ErasureList | None = None
    fleet: Fleet | None = None
    audit: AuditTrail | None = None
    lives: HeldStore | None = None
    elsewhere: AccessJournal | None = None

    @property
    def journal(self) -> AccessJournal:
        """Where readings and refusals are recorded."""
        return self.elsewhere or self.ledger

    def provider(self, name: str) -> Provider:
        """Return the provider of this name.

        Raises:
            InvalidRequest: there is none; the known ones are named.
        """
        try:
            return self.providers[name]
        except KeyError:
            known = ", ".join(sorted(self.providers)) or "none"
            raise InvalidRequest(
                f"unknown provider {name!r}; known: {known}", "provider", missing=True
            ) from None

    def context(self, actor: Actor, request_id: str, policy: str = "") -> Context:
        """Return the context of a decision taken now."""
        return Context(
            at=self.clock.now(),
            new_id=self.ids.uuid,
            request_id=request_id,
            node=self.node,
            actor=actor,
            policy=policy,
            jitter=self.ids.jitter(),
        )

    def system(self) -> Context:
        """Return the context of a decision that nobody asked for."""
        actor = Actor(id=self.node, kind=ActorKind.SYSTEM)
        return self.context(actor, self.ids.request_id(), self.policy.version)
