"""The audit trail over HTTP: pages, exports, and what comes, each on the record."""

from __future__ import annotations

import asyncio
import csv
import io
import json
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import anyio
import httpx
import pytest
import uvicorn

from grantledger.adapters.http.app import build_app
from grantledger.adapters.http.management import auditing
from grantledger.adapters.http.serving import ListeningServer
from grantledger.adapters.http.streams import MAX_STREAMS, Streams
from grantledger.domain.errors import RateLimited
from grantledger.domain.policy import Role
from grantledger.domain.values import GrantKey
from tests.broker.scene import CALLER
from tests.http.scene import PROBLEM, Service
from tests.http.test_management import AUTH, allow, denied

AUDIT = "/v1/audit"


@pytest.fixture
async def read(here: Service) -> Service:
    """The service after a hand-out and a denial; the scanner is an auditor."""
    assert (await here.post()).status_code == 200
    said = await here.client.post("/v1/grants/cloud/bob/token", auth=AUTH)
    assert said.status_code == 403
    allow(here, Role.AUDITOR)
    return here


async def get(here: Service, **said: Any) -> httpx.Response:  # noqa: ANN401 - as httpx takes them
    return await here.client.get(AUDIT, auth=AUTH, **said)


def events(said: httpx.Response) -> list[str]:
    assert said.status_code == 200, said.text
    return [row["event"] for row in said.json()["rows"]]


async def test_a_page_has_the_rows_and_this_reading_too(read: Service) -> None:
    said = await get(read)
    assert events(said)[0] == "Provisioned"
    assert events(said)[-3:] == ["HandedOut", "Denied", "AuditAccessed"]
    body = said.json()
    assert (body["next"], body["complete"]) == (None, True)
    last = body["rows"][-1]
    assert (last["caller"], last["reason"], last["detail"]) == (
        "scanner",
        "audit_read",
        "a page: everything",
    )
    handed = body["rows"][-3]
    assert handed["actor"]["auth_method"] == "jwt"
    assert handed["actor"]["peer_ip"] == "127.0.0.1"


async def test_a_filter_stands_in_the_query_or_in_a_body(read: Service) -> None:
    wanted = {"provider": "cloud", "subject": "alice", "event": "HandedOut"}
    by_query = await get(read, params=wanted)
    by_body = await read.client.post(AUDIT, auth=AUTH, json=wanted)
    assert events(by_query) == events(by_body) == ["HandedOut"]
    assert by_query.json()["rows"] == by_body.json()["rows"]
    assert by_query.json()["complete"] is False


async def test_pages_end_though_each_is_recorded(read: Service) -> None:
    whole = (await get(read)).json()["rows"]
    found: list[Any] = []
    cursor: dict[str, str] = {}
    for _ in range(50):
        said = (await get(read, params={"limit": "1", **cursor})).json()
        found += said["rows"]
        if said["next"] is None:
            break
        cursor = {"cursor": said["next"]}
    assert found[: len(whole)] == whole
    assert len(found) == len(whole) + 1


@pytest.mark.parametrize(
    ("said", "field"),
    [
        ({"cursor": "AAAA"}, "cursor"),
        ({"cursor": "_" * 27}, "cursor"),
        ({"limit": "0"}, "limit"),
        ({"limit": "1001"}, "limit"),
        ({"subject": "alice"}, "provider"),
        ({"provider": "cloud", "label": "a"}, "subject"),
        ({"recorded_from": "yesterday"}, "recorded_from"),
        ({"unknown": "1"}, "unknown"),
        ({"format": "xml"}, "format"),
        ({"below": "-1"}, "below"),
        ({"format": "csv", "cursor": "A"}, "cursor"),
    ],
)
async def test_what_cannot_be_is_refused_by_name(
    read: Service, said: dict[str, str], field: str
) -> None:
    answer = await get(read, params=said)
    assert (answer.status_code, answer.headers["content-type"]) == (400, PROBLEM)
    assert answer.json()["field"].startswith(field)


@pytest.mark.parametrize(
    ("role", "said", "reason"),
    [
        (Role.OPERATOR, {}, "may_not_audit"),
        (Role.CALLER, {}, "may_not_audit"),
        (Role.RESPONDER, {"format": "csv"}, "may_not_export"),
    ],
)
async def test_another_role_is_denied_and_recorded(
    here: Service, role: Role, said: dict[str, str], reason: str
) -> None:
    allow(here, role)
    assert (await get(here, params=said)).status_code == 403
    assert denied(here) == [reason]


async def test_a_rule_that_narrows_shows_its_own_rows_alone(read: Service) -> None:
    other = read.life.scene.consent(key=GrantKey("cloud", "bob"))
    await read.life.broker.provision(CALLER, other)
    allow(
        read,
        Role.AUDITOR,
        providers=frozenset({"cloud"}),
        subjects=frozenset({"alice"}),
    )
    said = await get(read)
    assert {row["subject"] for row in said.json()["rows"]} == {"alice"}
    assert said.json()["complete"] is False


async def test_rows_of_others_are_told_of_by_no_cursor(read: Service) -> None:
    """Else who asks for one row at a time learns where each of the others is."""
    for subject in ("carol", "bob"):
        other = read.life.scene.consent(key=GrantKey("cloud", subject))
        await read.life.broker.provision(CALLER, other)
    allow(read, Role.AUDITOR, subjects=frozenset({"bob"}))
    wanted = {"event": "Provisioned", "limit": "1"}
    said = (await get(read, params=wanted)).json()
    assert ([row["subject"] for row in said["rows"]], said["next"]) == (["bob"], None)
    allow(read, Role.AUDITOR, subjects=frozenset({"alice", "bob"}))
    first = (await get(read, params=wanted)).json()
    second = (await get(read, params={**wanted, "cursor": first["next"]})).json()
    assert [row["subject"] for row in first["rows"] + second["rows"]] == [
        "alice",
        "bob",
    ]
    assert second["next"] is None


async def test_an_export_is_everything_in_its_form(read: Service) -> None:
    shown = (await get(read)).json()["rows"]
    below = {"below": str(len(shown))}
    ndjson = await get(read, params={"format": "ndjson", **below})
    assert [json.loads(line) for line in ndjson.text.splitlines()] == shown
    text = await get(read, params=below, headers={"Accept": "text/csv"})
    assert text.headers["content-type"].startswith("text/csv")
    table = list(csv.DictReader(io.StringIO(text.text)))
    assert [row["event"] for row in table] == [row["event"] for row in shown]
    ranked = "application/json;q=0.1, text/csv;q=0, application/x-ndjson;q=0.2"
    best = await get(read, params=below, headers={"Accept": ranked})
    assert best.headers["content-type"] == "application/x-ndjson"
    for form in ("ocsf", "otel"):
        said = await get(read, params={"format": form, **below})
        assert len(said.text.splitlines()) == len(shown)
    parquet = await get(read, params={"format": "parquet", **below})
    assert parquet.content[:4] == parquet.content[-4:] == b"PAR1"
    reasons = [entry.get("reason") for entry in read.journal()]
    assert reasons.count("audit_export") == 6


async def test_exports_have_places_and_give_them_back(read: Service) -> None:
    for _ in range(MAX_STREAMS + 2):
        said = await get(read, params={"format": "ndjson", "below": "1"})
        assert said.status_code == 200


def test_one_stream_too_many_is_told_when_to_come_again() -> None:
    streams = Streams(1)
    streams.take()
    with pytest.raises(RateLimited):
        streams.take()
    streams.give_back()
    streams.take()


# -- following


@asynccontextmanager
async def served(here: Service) -> AsyncGenerator[tuple[str, ListeningServer]]:
    """Serve on a port: a stream needs a connection."""
    started = asyncio.Event()
    config = uvicorn.Config(
        build_app(here.whole),
        host="127.0.0.1",
        port=0,
        lifespan="off",
        log_level="error",
        timeout_graceful_shutdown=5,
    )
    server = ListeningServer(config, started.set, here.whole.draining.set)
    with config.bind_socket() as bound:
        task = asyncio.create_task(server.serve([bound]))
        await started.wait()
        host, port = bound.getsockname()
        try:
            yield f"http://{host}:{port}", server
        finally:
            server.should_exit = True
            await task


async def told(lines: AsyncIterator[str]) -> tuple[str, Any]:
    """Return the next event's id and data."""
    at = ""
    with anyio.fail_after(20):
        async for line in lines:
            if line.startswith("id: "):
                at = line.removeprefix("id: ")
            elif line.startswith("data: "):
                return at, json.loads(line.removeprefix("data: "))
    raise AssertionError("the stream has ended")


async def test_what_comes_is_told_and_gone_on_with_after_the_last(
    read: Service,
) -> None:
    """HTML Living Standard, server-sent events: Last-Event-ID."""
    allow(read, Role.AUDITOR, Role.CALLER)
    headers = {"Accept": "text/event-stream"}
    async with (
        served(read) as (url, _),
        httpx.AsyncClient(auth=AUTH, timeout=20) as client,
    ):
        wanted = {"event": "HandedOut"}
        async with client.stream(
            "GET", url + AUDIT, headers=headers, params=wanted
        ) as s:
            assert s.headers["content-type"].startswith("text/event-stream")
            lines = s.aiter_lines()
            assert await anext(lines) == "retry: 3000"
            assert (await read.post(auth=AUTH)).status_code == 200
            first, data = await told(lines)
            assert (data["event"], data["caller"]) == ("HandedOut", "scanner")
        assert (await read.post(auth=AUTH)).status_code == 200
        again = headers | {"Last-Event-ID": first}
        async with client.stream("GET", url + AUDIT, headers=again, params=wanted) as s:
            second, data = await told(s.aiter_lines())
            assert int(second.split(".")[0]) > int(first.split(".")[0])
            assert f"{data['leaf_index']}.{data['entry']}" == second
    reasons = [entry.get("reason") for entry in read.journal()]
    assert reasons.count("audit_follow") == 2


async def test_a_stream_ends_when_the_service_stops(read: Service) -> None:
    headers = {"Accept": "text/event-stream"}
    async with (
        served(read) as (url, server),
        httpx.AsyncClient(auth=AUTH, timeout=20) as client,
        client.stream("GET", url + AUDIT, headers=headers) as stream,
    ):
        lines = stream.aiter_lines()
        assert await anext(lines) == "retry: 3000"
        server.should_exit = True
        rest = [line async for line in lines]
    assert not any(line.startswith("data:") for line in rest)


async def test_a_stream_has_no_end_that_could_be_said(read: Service) -> None:
    said = await get(
        read, params={"below": "3"}, headers={"Accept": "text/event-stream"}
    )
    assert (said.status_code, said.json()["field"]) == (400, "recorded_until")


async def test_what_a_heartbeat_says_is_gone_on_from(
    read: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It stands behind every entry of its leaf; EventSource gives up at a 400."""
    monkeypatch.setattr(auditing, "HEARTBEAT_SECONDS", 0.0)
    headers = {"Accept": "text/event-stream"}
    async with (
        served(read) as (url, _),
        httpx.AsyncClient(auth=AUTH, timeout=20) as client,
    ):
        wanted = {"event": "Revoked"}
        async with client.stream(
            "GET", url + AUDIT, headers=headers, params=wanted
        ) as s:
            with anyio.fail_after(20):
                at = [line async for line in until_id(s.aiter_lines())][-1]
        again = headers | {"Last-Event-ID": at.removeprefix("id: ")}
        async with client.stream("GET", url + AUDIT, headers=again) as s:
            assert s.status_code == 200
            _, data = await told(s.aiter_lines())
            assert data["event"] == "AuditAccessed"


async def until_id(lines: AsyncIterator[str]) -> AsyncGenerator[str]:
    """Yield lines to the first that says an id."""
    async for line in lines:
        yield line
        if line.startswith("id: "):
            return


async def test_a_place_that_is_none_is_refused(read: Service) -> None:
    headers = {"Accept": "text/event-stream", "Last-Event-ID": "x"}
    said = await get(read, headers=headers)
    assert (said.status_code, said.json()["field"]) == (400, "last-event-id")
