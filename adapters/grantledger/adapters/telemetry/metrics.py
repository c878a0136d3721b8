"""Prometheus metrics of one process, in a registry of their own.

Every label is one of few: providers and issuers by their names in the settings, words
that this program enumerates, routes as templates. What a caller chose is never one.

Several processes share the files of `PROMETHEUS_MULTIPROC_DIR` where that is set: then
each writes there, and whoever exposes adds them up.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Literal

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    ProcessCollector,
    start_http_server,
)
from prometheus_client.multiprocess import (
    MultiProcessCollector,
    mark_process_dead,  # pyright: ignore[reportUnknownVariableType] # the library's own
)

from grantledger.adapters.telemetry.watch import Sample
from grantledger.domain.errors import Unavailable
from grantledger.domain.journal import AccessEntry
from grantledger.domain.values import Outcome, Source

# OpenTelemetry's advice for http.server.request.duration, in seconds.
REQUEST_BUCKETS = (
    *(0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75),
    *(1.0, 2.5, 5.0, 7.5, 10.0),
)
COMMIT_BUCKETS = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.5, 1.0, 5.0)
SIZE_BUCKETS = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024)
METHODS = frozenset(
    {"GET", "HEAD", "POST", "PUT", "DELETE", "CONNECT", "OPTIONS", "TRACE", "PATCH"}
)
MAX_WORDS = 64
OTHER = "other"
_WORD = re.compile(r"[a-z][a-z0-9_]{0,63}")


class Metrics:
    """What a broker and its service count.

    Args:
        providers: as the settings name them; of another, `other` is counted.

    Attributes:
        registry: of this process alone.
    """

    def __init__(self, providers: Iterable[str]) -> None:
        self._providers = frozenset(providers)
        self._words: set[str] = set()
        self._refused = ""
        self._requests: dict[tuple[str, str, int], Callable[[float], None]] = {}
        self.registry = registry = CollectorRegistry()
        ProcessCollector(registry=registry)
        self._access = Counter(
            "grantledger_access",
            "Journal entries made durable: hand-outs, denials, session exchanges.",
            ("provider", "outcome", "source"),
            registry=registry,
        )
        self._denials = Counter(
            "grantledger_denials",
            "Refusals of known callers, by reason.",
            ("provider", "reason"),
            registry=registry,
        )
        self._request = Histogram(
            "http_server_request_duration_seconds",
            "Duration of requests, by the route's template.",
            ("http_request_method", "http_route", "http_response_status_code"),
            buckets=REQUEST_BUCKETS,
            registry=registry,
        )
        self._upstream = Histogram(
            "grantledger_upstream_operation_duration_seconds",
            "Redemptions, exchanges and revocations at authorization servers.",
            ("provider", "operation", "outcome"),
            buckets=REQUEST_BUCKETS,
            registry=registry,
        )
        self._sent = Counter(
            "grantledger_upstream_requests",
            "Requests to providers and issuers: metadata, keys (jwks), forms.",
            ("server", "what", "outcome"),
            registry=registry,
        )
        self._commit = Histogram(
            "grantledger_commit_duration_seconds",
            "Group commits.",
            buckets=COMMIT_BUCKETS,
            registry=registry,
        )
        self._batch = Histogram(
            "grantledger_commit_units",
            "Appends and journal entries of one group commit.",
            ("kind",),
            buckets=SIZE_BUCKETS,
            registry=registry,
        )
        self._batch_appends = self._batch.labels("append")
        self._batch_entries = self._batch.labels("entry")
        self._commit_failures = Counter(
            "grantledger_commit_failures",
            "Group commits that could not be written.",
            registry=registry,
        )
        self._rounds = Counter(
            "grantledger_worker_rounds",
            "Rounds of the work that nobody asks for.",
            ("work", "outcome"),
            registry=registry,
        )
        self._queue = self._gauge(
            "grantledger_commit_queue", "Units that wait for the writer.", "livesum"
        )
        self._cached = self._gauge(
            "grantledger_cached_grants", "Grants kept in memory.", "livesum"
        )
        self._refusing = self._gauge(
            "grantledger_ledger_refusing",
            "1 while nothing is appended, with the reason's word.",
            "livemax",
            "reason",
        )
        self._open = self._gauge(
            "grantledger_obligations_open",
            "Revocations that are owed to servers.",
            "livemax",
            "provider",
        )
        self._overdue = self._gauge(
            "grantledger_obligations_overdue",
            "Of these, those whose next try is over an hour late.",
            "livemax",
        )
        self._exposure = self._gauge(
            "grantledger_residual_exposure_seconds",
            "The longest life left of a token whose revocation is owed.",
            "livemax",
        )
        self._untold = self._gauge(
            "grantledger_security_events_waiting",
            "Security events that receivers have not acknowledged yet.",
            "livemax",
        )
        self._checkpoints = Counter(
            "grantledger_checkpoints",
            "Checkpoints by what became of them; `failed` calls for an operator.",
            ("outcome",),
            registry=registry,
        )
        self._checkpoint_age = self._gauge(
            "grantledger_checkpoint_age_seconds",
            "For how long the log has leaves that no published checkpoint covers.",
            "livemax",
        )
        self._audit_leaves = self._gauge(
            "grantledger_audit_lag_leaves",
            "Leaves of the log that the audit trail lacks.",
            "livemax",
        )
        self._audit_seconds = self._gauge(
            "grantledger_audit_lag_seconds",
            "For how long the oldest leaf that the audit trail lacks is there.",
            "livemax",
        )
        self._spooled = self._gauge(
            "grantledger_spooled_answers",
            "Answers on disk that the ledger has not taken yet.",
            "livemax",
        )
        self._up = self._gauge(
            "grantledger_provider_up",
            "Whether a provider's server answered when it was asked last.",
            "livemin",
            "provider",
        )
        self._gauge("grantledger_build_info", "Always 1.", "livemax", "version").labels(
            version("grantledger")
        ).set(1)

    # -- on the hot path

    def committed(
        self, appends: int, entries: Sequence[AccessEntry], seconds: float
    ) -> None:
        """Count a group commit, and the entries that it made durable.

        Cached hand-outs are added up first: one addition for them all, and no look
        at an enumeration's hash for each.
        """
        self._commit.observe(seconds)
        if appends:
            self._batch_appends.observe(appends)
        if not entries:
            return
        self._batch_entries.observe(len(entries))
        handed, cached = Outcome.HANDED_OUT, Source.CACHED
        cached_at: dict[str, int] = {}
        for entry in entries:
            if entry.outcome is handed and entry.source is cached:
                cached_at[entry.provider] = cached_at.get(entry.provider, 0) + 1
            else:
                self._accessed(entry)
        for name, count in cached_at.items():
            self._access.labels(self._provider(name), handed, cached).inc(count)

    def _accessed(self, entry: AccessEntry) -> None:
        provider = self._provider(entry.provider)
        source = "" if entry.source is None else entry.source.value
        self._access.labels(provider, entry.outcome.value, source).inc(entry.count)
        if entry.outcome in {Outcome.DENIED, Outcome.SUPPRESSED}:
            reason = self._word(entry.reason)
            self._denials.labels(provider, reason).inc(entry.count)

    def requested(self, method: str, route: str, status: int, seconds: float) -> None:
        """Count a request that was answered; `route` is a template or empty."""
        if method not in METHODS:
            method = "_OTHER"
        key = (method, route, status)
        observe = self._requests.get(key)
        if observe is None:
            observe = self._request.labels(method, route, str(status)).observe
            self._requests[key] = observe
        observe(seconds)

    # -- the rest

    def commit_failed(self) -> None:
        """Count a group commit that failed."""
        self._commit_failures.inc()

    def asked(
        self, provider: str, operation: str, outcome: str, seconds: float
    ) -> None:
        """Count what a server was asked to do, and what came of it."""
        self._upstream.labels(provider, operation, outcome).observe(seconds)

    def sent(self, server: str, what: str, outcome: str) -> None:
        """Count a request to a server; see `HttpWatch`."""
        self._sent.labels(server, what, outcome).inc()

    def checkpoint(self, word: str) -> None:
        """Count a checkpoint by what became of it."""
        self._checkpoints.labels(word).inc()

    def worked(self, work: str, *, well: bool) -> None:
        """Count a round of a worker."""
        self._rounds.labels(work, "done" if well else "failed").inc()

    def sampled(self, sample: Sample) -> None:
        """Show what a broker is now."""
        self._queue.set(sample.queued)
        self._cached.set(sample.cached)
        word = sample.refusal or ""
        if word != self._refused:
            self._refusing.labels(self._refused).set(0)
            self._refused = word
        self._refusing.labels(word).set(1 if word else 0)
        if sample.obligations is not None:
            for provider in self._providers:
                self._open.labels(provider).set(sample.obligations.get(provider, 0))
            self._overdue.set(sample.overdue)
            self._exposure.set(sample.exposure_seconds)
            self._untold.set(sample.untold)
            self._audit_leaves.set(sample.audit_leaves)
            self._audit_seconds.set(sample.audit_seconds)
        self._checkpoint_age.set(sample.checkpoint_age_seconds)
        self._spooled.set(sample.spooled)
        for provider, answered in sample.reached.items():
            self._up.labels(provider).set(int(answered))

    def _provider(self, name: str) -> str:
        return name if name in self._providers else OTHER

    def _word(self, reason: str | None) -> str:
        """Return the reason, as long as it is one of few words."""
        if reason is None or _WORD.fullmatch(reason) is None:
            return OTHER
        if reason not in self._words:
            if len(self._words) >= MAX_WORDS:
                return OTHER
            self._words.add(reason)
        return reason

    def _gauge(
        self,
        name: str,
        words: str,
        mode: Literal["livesum", "livemax", "livemin"],
        *labels: str,
    ) -> Gauge:
        return Gauge(
            name, words, labels, registry=self.registry, multiprocess_mode=mode
        )


def expose(
    host: str, port: int, registry: CollectorRegistry, directory: Path | None = None
) -> tuple[int, Callable[[], None]]:
    """Answer `GET /metrics` there, in a thread; return the port and what stops it.

    Args:
        host: to listen on.
        port: likewise; 0 takes any free one.
        registry: what is shown.
        directory: of several processes, which are added up and shown instead.

    Raises:
        Unavailable: the address is taken.
    """
    if directory is not None:
        registry = CollectorRegistry()
        MultiProcessCollector(registry, str(directory))  # type: ignore[no-untyped-call] # the library's own
    try:
        server, thread = start_http_server(port, host, registry)
    except OSError as cause:
        raise Unavailable(
            f"cannot listen on {host}:{port} for metrics: {cause.strerror}"
        ) from None

    def stop() -> None:
        server.shutdown()
        server.server_close()
        thread.join()

    return server.server_port, stop


def forget(pid: int, directory: Path) -> None:
    """Take a process that has ended out of the gauges; what it counted stays."""
    mark_process_dead(pid, str(directory))  # type: ignore[no-untyped-call] # the library's own
