"""Sends the audit trail to an OTLP collector; imported only where wanted."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from functools import partial

from opentelemetry._logs import LogRecord, SeverityNumber
from opentelemetry.context import Context
from opentelemetry.exporter.otlp.proto.http._log_exporter import OTLPLogExporter
from opentelemetry.sdk._logs import ReadableLogRecord
from opentelemetry.sdk._logs.export import LogRecordExportResult
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.util.instrumentation import InstrumentationScope
from opentelemetry.trace import (
    NonRecordingSpan,
    SpanContext,
    TraceFlags,
    set_span_in_context,
)

from grantledger.domain.audit import AuditRow
from grantledger.domain.errors import Unavailable
from grantledger.projections.exports.otel import (
    SCOPE,
    OtelRecord,
    otel_record,
    resource_of,
)

SEND_SECONDS = 10.0
AGAIN_SECONDS = 10.0
_SCOPE = InstrumentationScope(SCOPE)


class LogSender:
    """Sends rows as log records, each batch acknowledged before the next.

    Args:
        collector: base URL of an OTLP collector over HTTP; `/v1/logs` is added.
        seconds: for one batch, tries included.
    """

    def __init__(self, collector: str, seconds: float = SEND_SECONDS) -> None:
        endpoint = collector.rstrip("/") + "/v1/logs"
        self._exporter = OTLPLogExporter(endpoint=endpoint, timeout=seconds)

    async def send(self, rows: Sequence[AuditRow]) -> None:
        """Send rows; returns when the collector has taken them.

        Raises:
            Unavailable: it has not; what was sent before stays there.
        """
        if not rows:
            return
        batch = [_readable(otel_record(row)) for row in rows]
        said = await asyncio.to_thread(partial(self._exporter.export, batch))
        if said is not LogRecordExportResult.SUCCESS:
            raise Unavailable(
                f"the collector did not take the rows from leaf "
                f"{rows[0].at.leaf_index} on",
                AGAIN_SECONDS,
            )

    def close(self) -> None:
        """Close its connections."""
        self._exporter.shutdown()  # type: ignore[no-untyped-call] # the library has none


def _readable(record: OtelRecord) -> ReadableLogRecord:
    context = Context()
    if record.trace_id and record.span_id:
        span = SpanContext(
            record.trace_id,
            record.span_id,
            is_remote=True,
            trace_flags=TraceFlags(record.flags),
        )
        context = set_span_in_context(NonRecordingSpan(span), context)
    log = LogRecord(
        timestamp=record.time_ns,
        observed_timestamp=record.observed_ns,
        context=context,
        severity_text=record.severity_text,
        severity_number=SeverityNumber(record.severity),
        body=record.body,
        attributes=dict(record.attributes),
        event_name=record.event_name,
    )
    return ReadableLogRecord(log, Resource(resource_of(record)), _SCOPE)
