"""Spans by the semantic conventions, with templates and without anybody's words."""

from __future__ import annotations

import gzip
import threading
from collections.abc import Generator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTraceServiceRequest,
)
from opentelemetry.sdk.trace import ReadableSpan

from grantledger.adapters.settings import parse
from grantledger.adapters.telemetry.opened import telemetry_of
from grantledger.domain.errors import ConfigurationError
from tests.telemetry.scene import Watched, watched

SERVER = "POST /v1/grants/{provider}/{subject}/token"
PARENT = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


def attributes(span: ReadableSpan) -> dict[str, object]:
    return dict(span.attributes or {})


def parent_of(span: ReadableSpan) -> int:
    assert span.parent is not None
    return span.parent.span_id


def id_of(span: ReadableSpan) -> int:
    assert span.context is not None
    return int(span.context.span_id)


async def test_a_hand_out_is_a_server_span_with_what_it_needed_below_it(
    here: Watched,
) -> None:
    here.spans.clear()
    await here.ask()
    (server,) = here.named(SERVER)
    assert attributes(server) == {
        "http.request.method": "POST",
        "http.route": "/v1/grants/{provider}/{subject}/token",
        "http.response.status_code": 200,
    }
    (redeem,) = here.named("redeem")
    assert attributes(redeem) == {
        "grantledger.provider": "cloud",
        "grantledger.outcome": "answered",
    }
    sent = here.named("POST")[-1]
    assert parent_of(sent) == id_of(redeem)
    said = attributes(sent)
    assert said["server.address"] == "127.0.0.1"
    assert said["http.request.method"] == "POST"
    assert said["http.response.status_code"] == 200
    assert not any("url" in name and name != "url.scheme" for name in said)
    (record,) = here.named("ledger record")
    assert parent_of(record) == id_of(server)
    assert attributes(record) == {
        "db.system.name": "sqlite",
        "db.operation.name": "record",
    }
    assert here.named("ledger append")


async def test_a_callers_traceparent_is_the_parent_and_its_tracestate_is_dropped(
    here: Watched,
) -> None:
    await here.ask(headers={"traceparent": PARENT, "tracestate": "a=canary"})
    (server,) = here.named(SERVER)
    assert server.context is not None
    assert format(server.context.trace_id, "032x") == PARENT.split("-")[1]
    assert format(parent_of(server), "016x") == PARENT.split("-")[2]
    for span in here.spans.get_finished_spans():
        assert "canary" not in span.to_json()


@pytest.mark.parametrize("bad", ["canary", "00-0-0-00", PARENT + "canary" * 100])
async def test_a_traceparent_that_is_none_starts_a_trace(
    here: Watched, bad: str
) -> None:
    await here.ask(headers={"traceparent": bad})
    (server,) = here.named(SERVER)
    assert server.parent is None


@pytest.mark.parametrize("forward", [False, True])
async def test_a_server_is_told_the_trace_only_where_that_is_set(
    tmp_path: Path, *, forward: bool
) -> None:
    async with watched(tmp_path, forward=forward) as here:
        await here.ask()
        told = [
            one.headers.get("traceparent") for one in here.life.scene.proxy.requests
        ]
    assert [one is not None for one in told] == [forward] * len(told)
    assert told


async def test_an_error_is_told_by_its_kind(here: Watched) -> None:
    await here.life.opened.ledger.close()
    here.spans.clear()
    assert (await here.ask()).status_code == 503
    (server,) = here.named(SERVER)
    assert attributes(server)["error.type"] == "503"
    for span in here.spans.get_finished_spans():
        assert span.events == ()
        assert span.status.description is None


async def test_a_collector_gets_the_spans_over_http(tmp_path: Path) -> None:
    with collector() as (url, bodies):
        settings = parse(f'[telemetry]\ntraces = "{url}"', tmp_path, {})
        telemetry = telemetry_of(settings, lambda: 0.0, metrics=False)
        assert telemetry is not None
        assert telemetry.traces is not None
        with telemetry.traces.request("GET", None) as span:
            span.ended("/healthz", 200)
        telemetry.close()
    names = [
        span.name
        for body in bodies
        for resource in ExportTraceServiceRequest.FromString(body).resource_spans
        for scope in resource.scope_spans
        for span in scope.spans
    ]
    assert names == ["GET /healthz"]


@pytest.mark.parametrize(
    "url", ["collector:4318", "http://u:p@collector", "ftp://collector", "http://["]
)
def test_a_collector_that_is_none_is_refused(tmp_path: Path, url: str) -> None:
    settings = parse(f'[telemetry]\ntraces = "{url}"', tmp_path, {})
    with pytest.raises(ConfigurationError) as refused:
        telemetry_of(settings, lambda: 0.0, metrics=False)
    assert refused.value.field == "telemetry.traces"
    assert "u:p" not in str(refused.value)


def test_without_a_setting_nothing_is_watched(tmp_path: Path) -> None:
    settings = parse("", tmp_path, {})
    assert telemetry_of(settings, lambda: 0.0, metrics=False) is None


@contextmanager
def collector() -> Generator[tuple[str, list[bytes]]]:
    """An OTLP collector over HTTP: what it was sent, body by body."""
    bodies: list[bytes] = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            length = int(self.headers["content-length"])
            body = self.rfile.read(length)
            if self.headers.get("content-encoding") == "gzip":
                body = gzip.decompress(body)
            bodies.append(body)
            self.send_response(200)
            self.send_header("content-length", "0")
            self.end_headers()

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the base's name
            """Say nothing."""

    server = HTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}", bodies
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
