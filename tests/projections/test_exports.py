"""The audit trail as JSON, CSV, Parquet and OpenTelemetry log records."""

from __future__ import annotations

import csv
import io
import json
from datetime import UTC, datetime
from importlib import import_module
from typing import Any

import pytest
from hypothesis import given, settings
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import (
    ExportLogsServiceRequest,
)

from grantledger.domain.audit import AuditOutcome, AuditRow
from grantledger.projections.exports import parquet
from grantledger.projections.exports.columns import COLUMNS
from grantledger.projections.exports.csv_table import RUNS, csv_rows, header, safe
from grantledger.projections.exports.formats import (
    LINES,
    ExportFormat,
    otel_line,
    writing,
)
from grantledger.projections.exports.otel import otel_record
from grantledger.projections.exports.rows import row_data, row_line
from tests.projections.audit_some import BY, NEW, OLD, bare, row, rows

# Without types of their own.
pq: Any = import_module("pyarrow.parquet")
json_format: Any = import_module("google.protobuf.json_format")


def test_a_row_is_json_by_names() -> None:
    said = row_data(row())
    assert json.loads(row_line(row())) == said
    assert said["recorded_at"] == "2026-03-01T14:02:01Z"
    assert said["occurred_at"] == "2026-03-01T14:02:00.123456Z"
    assert said["token"] == {"kind": "access_token", "fingerprint": NEW}
    assert said["actor"] == {
        "id": BY.id,
        "kind": "agent",
        "act_chain": ["idp:chat"],
        "auth_method": "jwt",
        "peer_ip": BY.peer_ip,
        "forwarded_for": BY.forwarded_for,
        "user_agent": BY.user_agent,
        "correlation_id": BY.correlation_id,
        "traceparent": BY.traceparent,
    }
    assert said["facts"] == {
        "count": 3,
        "since": "2026-03-01T00:00:00Z",
        "parent_fingerprint": OLD,
        "attempts": ["a", "b"],
        "sent": True,
        "wait": 1.5,
        "nothing": None,
    }


def test_an_event_has_no_entrys_number() -> None:
    assert (row_data(bare())["entry"], row_data(row())["entry"]) == (None, 0)


@given(rows)
@settings(max_examples=50)
def test_a_line_is_one_line_that_no_terminal_obeys(one: AuditRow) -> None:
    for line in LINES.values():
        said = line(one)
        assert said.count(b"\n") == 1
        assert said.endswith(b"\n")
        assert all(32 <= byte < 127 for byte in said[:-1])
        assert isinstance(json.loads(said), dict)


def table(*some: AuditRow) -> list[list[str]]:
    text = (header() + csv_rows(some)).decode()
    return list(csv.reader(io.StringIO(text, newline="")))


@given(rows)
@settings(max_examples=100)
def test_no_cell_is_a_formula_and_each_says_what_was_there(one: AuditRow) -> None:
    """OWASP CSV Injection."""
    names, cells = table(one)
    assert len(cells) == len(names)
    for column, cell in zip(COLUMNS, cells, strict=True):
        if cell.startswith("'"):
            assert cell[1:2] in RUNS
        else:
            assert cell[:1] not in RUNS or not cell
        said = column.of(one)
        if isinstance(said, str) and all(c.isprintable() for c in said):
            assert cell.removeprefix("'") == said if said[:1] in RUNS else cell == said


@pytest.mark.parametrize("text", ["=HYPERLINK(1)", "+1", "-1", "@SUM(1)", "\t=1", "'a"])
def test_a_cell_that_would_be_run_begins_with_an_apostrophe(text: str) -> None:
    assert safe(text) == f"'{text}"


def test_a_csv_names_its_columns_once() -> None:
    names, first, second = table(row(), bare())
    assert names == [column.name for column in COLUMNS]
    said = dict(zip(names, first, strict=True))
    assert said["scopes"] == "openid\nprofile"
    assert said["recorded_at"] == "2026-03-01T14:02:01Z"
    assert dict(zip(names, second, strict=True))["subject"] == ""


def parquet_of(*some: AuditRow) -> tuple[bytes, list[dict[str, Any]]]:
    writer = writing(ExportFormat.PARQUET)
    raw = writer.begin() + b"".join(writer.rows([one]) for one in some) + writer.end()
    return raw, pq.read_table(io.BytesIO(raw)).to_pylist()


@given(rows)
@settings(max_examples=15)
def test_parquet_says_what_the_rows_say(one: AuditRow) -> None:
    _, said = parquet_of(one, bare())
    assert said == [{c.name: c.of(each) for c in COLUMNS} for each in (one, bare())]


def test_parquet_of_nothing_is_a_table_without_rows() -> None:
    raw, said = parquet_of()
    assert said == []
    names = pq.read_schema(io.BytesIO(raw)).names
    assert names == [column.name for column in COLUMNS]


def test_parquet_leaves_the_memory_group_by_group() -> None:
    writer = parquet.ParquetTable()
    begun = writer.begin()
    assert begun == b"PAR1"
    assert writer.rows([row()] * (parquet.GROUP - 1)) == b""
    assert len(writer.rows([row()])) > 100
    assert writer.rows([row()]) == b""
    assert writer.end().endswith(b"PAR1")


def otlp(one: AuditRow) -> tuple[dict[str, Any], dict[str, Any]]:
    said = json.loads(otel_line(one))
    record: dict[str, Any] = said["resourceLogs"][0]["scopeLogs"][0]["logRecords"][0]
    return said, record


@given(rows)
@settings(max_examples=50)
def test_a_log_record_is_one_of_the_protocol(one: AuditRow) -> None:
    """opentelemetry-proto, its JSON mapping; ids are hex there, unlike Protobuf's."""
    said, record = otlp(one)
    ids = (record.pop("traceId", ""), record.pop("spanId", ""))
    assert (len(ids[0]), len(ids[1])) in {(0, 0), (32, 16)}
    request = json_format.ParseDict(said, ExportLogsServiceRequest())
    (logged,) = request.resource_logs[0].scope_logs[0].log_records
    assert logged.body.string_value == one.what
    assert len({each.key for each in logged.attributes}) == len(logged.attributes)


def test_a_log_record_has_the_events_times_trace_and_words() -> None:
    _, record = otlp(row(outcome=AuditOutcome.DENIED))
    seconds = int(datetime(2026, 3, 1, 14, 2, tzinfo=UTC).timestamp())
    assert record["timeUnixNano"] == f"{seconds}123456000"
    assert record["observedTimeUnixNano"] == f"{seconds + 1}000000000"
    assert record["traceId"] == "0af7651916cd43dd8448eb211c80319c"
    assert record["spanId"] == "b7ad6b7169203331"
    assert (record["severityNumber"], record["severityText"]) == (13, "WARN")
    assert record["eventName"] == "grantledger.handed_out"
    said = {each["key"]: each["value"] for each in record["attributes"]}
    assert said["client.address"] == {"stringValue": BY.peer_ip}
    assert said["grantledger.fact.count"] == {"intValue": "3"}
    assert said["grantledger.fact.sent"] == {"boolValue": True}


def test_what_is_no_trace_context_is_no_trace() -> None:
    bad = "00-" + "0" * 32 + "-" + "0" * 16 + "-01"
    for said in (bad, "zz", None):
        by = type(BY)(id="a", traceparent=said)
        assert "traceId" not in otlp(row(actor=by))[1]
    assert otel_record(bare()).trace_id == 0
