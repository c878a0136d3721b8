"""The audit trail as OpenTelemetry log records, by its logs data model 1.x.

`OtelRecord` is what any exporter sends; `otlp_line` is the same as a line of OTLP/JSON,
as the file exporter of the OpenTelemetry protocol writes and a collector's file
receiver reads. Trace and span come from the caller's `traceparent`, which is untrusted.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

from grantledger.domain.audit import AuditOutcome, AuditRow, Fact
from grantledger.projections.exports.columns import COLUMNS, Cell
from grantledger.projections.exports.rows import json_line, time_text

SCOPE = "grantledger.audit"
SEVERITIES: Mapping[AuditOutcome, tuple[int, str]] = {
    AuditOutcome.SUCCESS: (9, "INFO"),
    AuditOutcome.UNKNOWN: (13, "WARN"),
    AuditOutcome.DENIED: (13, "WARN"),
    AuditOutcome.FAILED: (17, "ERROR"),
}
"""Number and text, as the logs data model says."""

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_TRACEPARENT = re.compile(r"00-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})")
_WORD_START = re.compile(r"(?<=[a-z])(?=[A-Z])")
_TOP = {"what", "occurred_at", "recorded_at", "facts", "node", "build", "traceparent"}
_NAMES = {
    "actor": "user.id",
    "peer_ip": "client.address",
    "user_agent": "user_agent.original",
}
"""Of the semantic conventions; the others are `grantledger.` and the column's name."""

Attribute = str | int | bool | float | list[str]


@dataclass(frozen=True, slots=True)
class OtelRecord:
    """A log record.

    Attributes:
        time_ns, observed_ns: since 1970, of the event and of its recording.
        trace_id, span_id: 0 for none.
    """

    time_ns: int
    observed_ns: int
    severity: int
    severity_text: str
    event_name: str
    body: str
    attributes: Mapping[str, Attribute]
    node: str
    trace_id: int = 0
    span_id: int = 0
    flags: int = 0
    build: str | None = field(default=None)


def otel_record(row: AuditRow) -> OtelRecord:
    """Return a row as a log record."""
    number, word = SEVERITIES[row.outcome]
    given = row.actor.traceparent if row.actor else None
    trace = _TRACEPARENT.fullmatch(given or "")
    attributes: dict[str, Attribute] = {}
    for column in COLUMNS:
        value = column.of(row)
        if column.name not in _TOP and value is not None and value != []:
            name = _NAMES.get(column.name, f"grantledger.{column.name}")
            attributes[name] = _plain(value)
    for fact, said in row.facts.items():
        known = _of_fact(said)
        if known is not None:
            attributes[f"grantledger.fact.{fact}"] = known
    return OtelRecord(
        time_ns=_ns(row.occurred_at),
        observed_ns=_ns(row.recorded_at),
        severity=number,
        severity_text=word,
        event_name=f"grantledger.{_WORD_START.sub('_', row.event).lower()}",
        body=row.what,
        attributes=attributes,
        node=row.node,
        trace_id=int(trace[1], 16) if trace else 0,
        span_id=int(trace[2], 16) if trace else 0,
        flags=int(trace[3], 16) if trace else 0,
        build=row.build,
    )


def otlp_line(record: OtelRecord) -> bytes:
    """Return a record as a line of OTLP/JSON, with its end."""
    said: dict[str, object] = {
        "timeUnixNano": str(record.time_ns),
        "observedTimeUnixNano": str(record.observed_ns),
        "severityNumber": record.severity,
        "severityText": record.severity_text,
        "eventName": record.event_name,
        "body": {"stringValue": record.body},
        "attributes": _attributes(record.attributes),
    }
    if record.trace_id and record.span_id:
        said["traceId"] = f"{record.trace_id:032x}"
        said["spanId"] = f"{record.span_id:016x}"
        said["flags"] = record.flags
    scope = {"scope": {"name": SCOPE}, "logRecords": [said]}
    resource = {"attributes": _attributes(resource_of(record))}
    return json_line({"resourceLogs": [{"resource": resource, "scopeLogs": [scope]}]})


def resource_of(record: OtelRecord) -> dict[str, Attribute]:
    """Return what a record says of the process that decided."""
    said: dict[str, Attribute] = {
        "service.name": "grantledger",
        "service.instance.id": record.node,
    }
    if record.build is not None:
        said["service.version"] = record.build
    return said


def _plain(value: Cell) -> Attribute:
    if isinstance(value, datetime):
        return time_text(value)
    return "" if value is None else value


def _of_fact(value: Fact) -> Attribute | None:
    if value is None or isinstance(value, bool | int | float):
        return value
    if isinstance(value, datetime):
        return time_text(value)
    return str(value) if isinstance(value, str) else [str(one) for one in value] or None


def _attributes(said: Mapping[str, Attribute]) -> list[dict[str, object]]:
    return [{"key": name, "value": _any_value(value)} for name, value in said.items()]


def _any_value(value: Attribute) -> dict[str, object]:
    match value:
        case bool():
            return {"boolValue": value}
        case int():
            return {"intValue": str(value)}
        case float():
            return {"doubleValue": value}
        case str():
            return {"stringValue": value}
        case _:
            return {"arrayValue": {"values": [{"stringValue": one} for one in value]}}


def _ns(at: datetime) -> int:
    return (at - _EPOCH) // timedelta(microseconds=1) * 1000
