"""What is told to whoever watches a broker; by default nobody does.

Cheap to import: nothing of Prometheus or OpenTelemetry is needed for it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from grantledger.adapters.upstream.http import HttpWatch
from grantledger.domain.journal import AccessEntry
from grantledger.domain.ports import AuthorizationServer, Ledger


@dataclass(frozen=True, slots=True)
class Sample:
    """What a broker is at one moment; `sampled` of bootstrap takes it.

    Attributes:
        queued: appends and entries that wait for the writer.
        cached: grants in memory.
        refusal: the word for why the ledger takes nothing, None while it does.
        obligations: open ones by provider, None where that could not be read.
        overdue: those of them whose next try is over an hour late.
        exposure_seconds: the longest life that is left of a token that is owed.
        untold: security events that receivers are owed.
        checkpoint_age_seconds: for how long leaves are in no published checkpoint.
        spooled: answers on disk that the ledger has not taken yet.
        audit_leaves: leaves that the audit trail lacks; `audit_seconds` since when the
            oldest of them is there.
        reached: of each provider asked so far, whether its server answered last.
    """

    queued: int
    cached: int
    refusal: str | None
    obligations: Mapping[str, int] | None = None
    overdue: int = 0
    exposure_seconds: float = 0.0
    untold: int = 0
    checkpoint_age_seconds: float = 0.0
    spooled: int = 0
    audit_leaves: int = 0
    audit_seconds: float = 0.0
    reached: Mapping[str, bool] = field(default_factory=dict[str, bool])


class Watch:
    """Sees what a broker does; this one looks away, and costs nothing."""

    def ledger(self, ledger: Ledger) -> Ledger:
        """Return the ledger, watched."""
        return ledger

    def server(self, provider: str, server: AuthorizationServer) -> AuthorizationServer:
        """Return a provider's server, watched."""
        _ = provider
        return server

    def http(self, name: str) -> HttpWatch | None:
        """Return who watches the requests to a provider or an issuer."""
        _ = name
        return None

    def committed(
        self, appends: int, entries: Sequence[AccessEntry], seconds: float
    ) -> None:
        """Take note of a group commit; called in the thread that writes."""

    def commit_failed(self) -> None:
        """Take note of a group commit that failed; called in the same thread."""

    def checkpoint(self, word: str) -> None:
        """Take note of a checkpoint: `published`, `failed`, `cosigned` and so on."""

    def worked(self, work: str, *, well: bool) -> None:
        """Take note of a round of a worker."""


UNWATCHED = Watch()
