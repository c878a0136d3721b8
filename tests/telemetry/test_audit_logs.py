"""Rows of the audit trail arrive at a collector, or are known not to have."""

from __future__ import annotations

import pytest
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import (
    ExportLogsServiceRequest,
)

from grantledger.adapters.telemetry.audit_logs import LogSender
from grantledger.domain.errors import Unavailable
from tests.projections.audit_some import bare, row
from tests.telemetry.test_traces import collector


async def test_rows_arrive_as_log_records_with_their_trace() -> None:
    with collector() as (url, bodies):
        sender = LogSender(url)
        await sender.send([row(), bare()])
        await sender.send([])
        sender.close()
    (body,) = bodies
    said = ExportLogsServiceRequest.FromString(body)
    logs = [
        log
        for resource in said.resource_logs
        for scope in resource.scope_logs
        for log in scope.log_records
    ]
    assert sorted(log.event_name for log in logs) == [
        "grantledger.handed_out",
        "grantledger.moved",
    ]
    handed = next(log for log in logs if log.event_name == "grantledger.handed_out")
    assert handed.trace_id.hex() == "0af7651916cd43dd8448eb211c80319c"
    assert handed.body.string_value == "From the cache."
    assert handed.time_unix_nano % 1_000_000_000 == 123_456_000


async def test_a_collector_that_is_not_there_is_an_error_not_a_loss() -> None:
    with collector() as (url, _):
        pass
    sender = LogSender(url, 0.5)
    with pytest.raises(Unavailable):
        await sender.send([row()])
    sender.close()
