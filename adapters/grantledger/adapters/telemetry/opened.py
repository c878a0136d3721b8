"""The telemetry that the settings ask for, put together."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from grantledger.adapters.settings import Settings
from grantledger.adapters.telemetry.ledgers import (
    TracedLedger,
    WatchedServer,
)
from grantledger.adapters.telemetry.metrics import Metrics
from grantledger.adapters.telemetry.watch import Watch
from grantledger.adapters.upstream.http import (
    HttpAnswer,
    HttpWatch,
    Sending,
    TransportFailure,
)
from grantledger.domain.errors import ConfigurationError
from grantledger.domain.journal import AccessEntry
from grantledger.domain.ports import AuthorizationServer, Ledger

if TYPE_CHECKING:
    from grantledger.adapters.telemetry.tracing import Traces


class Telemetry(Watch):
    """Counts and traces what a broker does; either may be missing.

    Args:
        monotonic: seconds that no clock step moves.
    """

    def __init__(
        self,
        metrics: Metrics | None,
        traces: Traces | None,
        monotonic: Callable[[], float],
    ) -> None:
        self.metrics = metrics
        self.traces = traces
        self.monotonic = monotonic

    def ledger(self, ledger: Ledger) -> Ledger:
        """Return the ledger, traced; what it records is counted by its commits."""
        return ledger if self.traces is None else TracedLedger(ledger, self.traces)

    def server(self, provider: str, server: AuthorizationServer) -> AuthorizationServer:
        """Return a provider's server, counted and traced."""
        return WatchedServer(
            provider, server, self.metrics, self.traces, self.monotonic
        )

    def http(self, name: str) -> HttpWatch | None:
        """Return who watches the requests to a provider or an issuer."""
        return _Requests(name, self.metrics, self.traces)

    def committed(
        self, appends: int, entries: Sequence[AccessEntry], seconds: float
    ) -> None:
        """Count a group commit."""
        if self.metrics is not None:
            self.metrics.committed(appends, entries, seconds)

    def commit_failed(self) -> None:
        """Count a group commit that failed."""
        if self.metrics is not None:
            self.metrics.commit_failed()

    def checkpoint(self, word: str) -> None:
        """See `Watch.checkpoint`."""
        if self.metrics is not None:
            self.metrics.checkpoint(word)

    def worked(self, work: str, *, well: bool) -> None:
        """Count a round of a worker."""
        if self.metrics is not None:
            self.metrics.worked(work, well=well)

    def close(self) -> None:
        """Send what is left."""
        if self.traces is not None:
            self.traces.close()


def telemetry_of(
    settings: Settings, monotonic: Callable[[], float], *, metrics: bool
) -> Telemetry | None:
    """Return what the settings ask for, None where that is nothing.

    Args:
        settings: see `[telemetry]`.
        monotonic: seconds that no clock step moves.
        metrics: whether they are to be counted.

    Raises:
        ConfigurationError: the collector's URL is wrong, or what traces need is not
            installed.
    """
    collector = settings.file.telemetry.traces
    traces = None if collector is None else _traces(settings, collector)
    if traces is None and not metrics:
        return None
    counted = Metrics(settings.file.providers) if metrics else None
    return Telemetry(counted, traces, monotonic)


def _traces(settings: Settings, collector: str) -> Traces:
    field = "telemetry.traces"
    try:
        parts = urlsplit(collector)
    except ValueError:
        parts = urlsplit("")
    if parts.scheme not in {"http", "https"} or not parts.hostname or "@" in collector:
        raise ConfigurationError(
            f"{field}: the URL of a collector, such as http://127.0.0.1:4318, "
            "without a password",
            field,
        )
    try:
        # Here, since the extra need not be installed.
        from grantledger.adapters.telemetry import tracing  # noqa: PLC0415 - see above
    except ImportError:
        raise ConfigurationError(
            f"{field}: traces need the extra: pip install 'grantledger[otel]'", field
        ) from None
    said = settings.file.telemetry
    url = settings.ledger_url[1].lower()
    return tracing.Traces(
        tracing.exporting(collector),
        node=settings.node,
        system="postgresql" if url.startswith("postgres") else "sqlite",
        share=said.trace_share,
        forward=said.forward_traceparent,
    )


class _Requests:
    """Watches the requests to one server."""

    def __init__(
        self, name: str, metrics: Metrics | None, traces: Traces | None
    ) -> None:
        self._name = name
        self._metrics = metrics
        self._traces = traces

    def sending(self, method: str, url: str, what: str) -> Sending:
        """Return who watches this request."""
        span = None if self._traces is None else self._traces.sending(method, url)
        return _Sending(self._name, what, self._metrics, span)


class _Sending:
    def __init__(
        self, name: str, what: str, metrics: Metrics | None, span: Sending | None
    ) -> None:
        self._name = name
        self._what = what
        self._metrics = metrics
        self._span = span

    @property
    def headers(self) -> Mapping[str, str]:
        return {} if self._span is None else self._span.headers

    def ended(self, outcome: HttpAnswer | TransportFailure | None) -> None:
        if self._span is not None:
            self._span.ended(outcome)
        if self._metrics is not None:
            self._metrics.sent(self._name, self._what, _word(outcome))


def _word(outcome: HttpAnswer | TransportFailure | None) -> str:
    if outcome is None:
        return "cancelled"
    if isinstance(outcome, HttpAnswer):
        return f"{outcome.status // 100}xx"
    return outcome.error
