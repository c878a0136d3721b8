"""Whatever a known caller asks for and may not have is on the record.

NIST SP 800-53 AU-2 and AU-12, PCI DSS 10.2.1: every operation of the document is asked,
so that a new one that records nothing is found.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Mapping
from pathlib import Path
from typing import Any

import httpx
import pytest

from grantledger.domain.values import Outcome
from tests.http.scene import HASH, SECRET, Service, service

NOBODY = "nobody"
UNHEARD_OF = "0f0e0d0c-0b0a-4908-8706-050403020100"
NAMES = {
    "provider": "cloud",
    "subject": "alice",
    "transmitter": "idp",
    "tile": "0/000",
}
FORM = "application/x-www-form-urlencoded"

OPEN_TO_ALL = frozenset({"healthz", "readyz", "event_keys"})
"""They tell nothing of anybody, and know no caller."""

OTHERS = frozenset(
    {
        # Its sender is known by what it sends: tests/http/test_event_threats.py.
        "push_event",
        # A token that nobody knows is given back, and nothing changes (RFC 7009 2.2).
        "give_back",
    }
)


@pytest.fixture
async def here(tmp_path: Path) -> AsyncGenerator[Service]:
    """A service that knows a client to which its policy permits nothing."""
    more = f"""
[[http.clients]]
id = "{NOBODY}"
secret_hash = "{HASH}"

[ledger]
denials_per_second = 1e6
"""
    async with service(tmp_path, http=more) as made:
        yield made


async def asked(
    here: Service, method: str, path: str, operation: Mapping[str, Any]
) -> httpx.Response:
    """Ask an operation as the client that may do nothing, with its required fields."""
    query: dict[str, str] = {}
    for said in operation.get("parameters", ()):
        value = NAMES.get(said["name"], example(said["schema"]))
        if said["in"] == "path":
            path = path.replace("{" + said["name"] + "}", value)
        elif said.get("required"):
            query[said["name"]] = value
    kinds = operation.get("requestBody", {}).get("content", {})
    body: dict[str, Any] = {"content": b"{}"} if kinds else {}
    headers = {"Content-Type": next(iter(kinds))} if kinds else {}
    if FORM in kinds:
        body = {"data": {"grant_type": "x", "subject_token": "x"}}
    return await here.client.request(
        method, path, params=query, headers=headers, auth=(NOBODY, SECRET), **body
    )


def example(schema: Mapping[str, Any]) -> str:
    """Return a value of a parameter's schema."""
    kinds = [schema, *schema.get("anyOf", ())]
    if any(kind.get("format") == "uuid" for kind in kinds):
        return UNHEARD_OF
    if any(kind.get("format") == "date-time" for kind in kinds):
        return "2026-03-01T12:00:00Z"
    if any(kind.get("type") == "integer" for kind in kinds):
        return "0"
    return "x"


async def test_every_operation_that_is_refused_is_recorded(here: Service) -> None:
    document = (await here.client.get("/openapi.json")).json()
    unrecorded: dict[str, int] = {}
    seen = 0
    for path, operations in document["paths"].items():
        for method, operation in operations.items():
            name = operation["operationId"]
            if name in OPEN_TO_ALL | OTHERS:
                continue
            before = len(here.journal())
            said = await asked(here, method, path, operation)
            assert 400 <= said.status_code < 500, (name, said.status_code)
            entries = here.journal()[before:]
            seen += 1
            if [(e["caller"], e["outcome"]) for e in entries] != [
                (NOBODY, Outcome.DENIED)
            ]:
                unrecorded[name] = said.status_code
    assert unrecorded == {}
    assert seen >= 14, "the document names the operations"
