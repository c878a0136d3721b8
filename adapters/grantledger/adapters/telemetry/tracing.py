"""OpenTelemetry traces, by its semantic conventions; imported only where wanted.

A span names the route's template and never the path, the server's address and never
the URL. Of a caller's headers `traceparent` alone is read (W3C Trace Context section
3.2): `tracestate` and baggage are its own words, and would be exported.
"""

from __future__ import annotations

from collections.abc import Generator, Mapping
from contextlib import contextmanager
from importlib.metadata import version
from urllib.parse import urlsplit

from opentelemetry import context as contexts
from opentelemetry import trace
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import SpanProcessor, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.sdk.trace.sampling import ParentBased, TraceIdRatioBased
from opentelemetry.trace import Span, SpanKind, Status, StatusCode
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from grantledger.adapters.upstream.http import HttpAnswer, Sending, TransportFailure

SERVER_ERROR = 500
EXPORT_SECONDS = 3.0
"""For one batch, tries included; a collector that is down holds up no stop."""

_PORTS = {"http": 80, "https": 443}
_PROPAGATOR = TraceContextTextMapPropagator()


def exporting(collector: str) -> SpanProcessor:
    """Return what sends spans to an OTLP collector, in batches and in a thread."""
    return BatchSpanProcessor(
        OTLPSpanExporter(
            endpoint=collector.rstrip("/") + "/v1/traces", timeout=EXPORT_SECONDS
        )
    )


class Traces:
    """Opens spans; nothing of it is global.

    Args:
        processor: takes the ended spans.
        system: `db.system.name` of the ledger.
        share: of requests without a traced parent that are traced.
        forward: tell authorization servers the trace.
    """

    def __init__(
        self,
        processor: SpanProcessor,
        *,
        node: str,
        system: str,
        share: float = 1.0,
        forward: bool = False,
    ) -> None:
        self._system = system
        self._forward = forward
        self._provider = TracerProvider(
            resource=Resource(
                {
                    "service.name": "grantledger",
                    "service.version": version("grantledger"),
                    "service.instance.id": node,
                }
            ),
            sampler=ParentBased(TraceIdRatioBased(share)),
            shutdown_on_exit=False,
        )
        self._provider.add_span_processor(processor)
        self._tracer = self._provider.get_tracer("grantledger", version("grantledger"))

    def close(self) -> None:
        """Send what is left; waits for the collector for some seconds at most."""
        self._provider.shutdown()

    @contextmanager
    def request(self, method: str, traceparent: str | None) -> Generator[ServerSpan]:
        """Have a server span be the current one."""
        parent = contexts.Context()
        if traceparent is not None:
            parent = _PROPAGATOR.extract({"traceparent": traceparent}, parent)
        span = self._tracer.start_span(
            method,
            parent,
            SpanKind.SERVER,
            {"http.request.method": method},
        )
        with _current(span):
            yield ServerSpan(span, method)

    @contextmanager
    def ledger(self, operation: str) -> Generator[Span]:
        """Have the span of a write to the ledger be the current one."""
        attributes = {
            "db.system.name": self._system,
            "db.operation.name": operation,
        }
        span = self._tracer.start_span(
            f"ledger {operation}", None, SpanKind.CLIENT, attributes
        )
        with _current(span):
            yield span

    @contextmanager
    def operation(self, provider: str, operation: str) -> Generator[Span]:
        """Have the span of what a server is asked to do be the current one."""
        span = self._tracer.start_span(
            operation, None, SpanKind.INTERNAL, {"grantledger.provider": provider}
        )
        with _current(span):
            yield span

    def sending(self, method: str, url: str) -> Sending:
        """Return the client span of one request to a server."""
        parts = urlsplit(url)
        port = parts.port or _PORTS.get(parts.scheme, 0)
        span = self._tracer.start_span(
            method,
            None,
            SpanKind.CLIENT,
            {
                "http.request.method": method,
                "server.address": parts.hostname or "",
                "server.port": port,
                "url.scheme": parts.scheme,
            },
        )
        headers: dict[str, str] = {}
        if self._forward:
            _PROPAGATOR.inject(headers, trace.set_span_in_context(span))
            headers.pop("tracestate", None)
        return ClientSpan(span, headers)


class ServerSpan:
    """The span of one request to this service."""

    def __init__(self, span: Span, method: str) -> None:
        self._span = span
        self._method = method

    def ended(self, route: str, status: int) -> None:
        """Say what the request turned out to be; `route` is a template or empty."""
        if route:
            self._span.update_name(f"{self._method} {route}")
            self._span.set_attribute("http.route", route)
        self._span.set_attribute("http.response.status_code", status)
        if status >= SERVER_ERROR:
            self._span.set_attribute("error.type", str(status))
            self._span.set_status(Status(StatusCode.ERROR))


class ClientSpan:
    """The span of one request to a server (see `upstream.http.Sending`)."""

    def __init__(self, span: Span, headers: Mapping[str, str]) -> None:
        self._span = span
        self._headers = headers

    @property
    def headers(self) -> Mapping[str, str]:
        """Sent beside the others."""
        return self._headers

    def ended(self, outcome: HttpAnswer | TransportFailure | None) -> None:
        """End the span."""
        if isinstance(outcome, HttpAnswer):
            self._span.set_attribute("http.response.status_code", outcome.status)
            failed = str(outcome.status) if outcome.status >= 400 else None  # noqa: PLR2004 - the conventions' bound
        else:
            failed = "cancelled" if outcome is None else outcome.error
        if failed is not None:
            self._span.set_attribute("error.type", failed)
            self._span.set_status(Status(StatusCode.ERROR))
        self._span.end()


def trace_id() -> str | None:
    """Return the id of the trace that is current, None without."""
    found = trace.get_current_span().get_span_context()
    return format(found.trace_id, "032x") if found.is_valid else None


@contextmanager
def _current(span: Span) -> Generator[None]:
    """Have a span be the current one; of an exception its kind alone is kept."""
    token = contexts.attach(trace.set_span_in_context(span))
    try:
        yield
    except BaseException as error:
        # Not recorded as the library does: its words might hold a secret.
        span.set_attribute("error.type", type(error).__name__)
        span.set_status(Status(StatusCode.ERROR))
        raise
    finally:
        contexts.detach(token)
        span.end()
