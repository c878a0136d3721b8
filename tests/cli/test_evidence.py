"""`grantledger evidence`: from a leaked token to a bundle that others can check."""

from __future__ import annotations

import json
from datetime import UTC, datetime

import pytest

from grantledger.adapters.devserver import DevServer
from grantledger.projections.verify.command import main
from tests.cli.terminal import Terminal

ALICE = ("nc", "alice")
NONE, INVALID, CONFIGURATION = 10, 20, 60


@pytest.fixture
def leaked(place: Terminal, server: DevServer) -> str:
    """A refresh token of alice, whose grant was used, then revoked; bob has one too."""
    token = place.consented(server, "alice")
    place.consented(server, "bob")
    place.ok("token", *ALICE)
    place.ok("revoke", *ALICE, "--reason", "incident")
    return token


def test_a_raw_token_leads_to_a_bundle_that_verifies(
    place: Terminal, leaked: str, capsys: pytest.CaptureFixture[str]
) -> None:
    said = place.json("evidence", "case", "--token", given=leaked)
    bundle = place.directory / "case"
    assert not said["complete"]
    (grant,) = said["grants"]
    key = place.json("checkpoint", "--key")["key"]
    capsys.readouterr()
    assert main(["bundle", str(bundle), "--key", key, "--json"]) == 0
    rows = [json.loads(x) for x in (bundle / "events.ndjson").read_text().splitlines()]
    assert {row["grant_id"] for row in rows} == {grant}
    assert {"Provisioned", "HandedOut", "Revoked"} <= {row["event"] for row in rows}
    for path in bundle.rglob("*"):
        assert path.is_dir() or leaked.encode() not in path.read_bytes()


def test_people_are_told_whether_something_may_be_missing(
    place: Terminal, leaked: str
) -> None:
    words = place.ok("evidence", "a", "--token", given=leaked)
    assert "not that nothing is left out" in words
    assert "grantledger-verify bundle a" in words
    assert leaked not in words
    words = place.ok("evidence", "b.zip", "--from", "2020-01-01T00:00:00Z")
    assert "Nothing between is left out" in words
    assert (place.directory / "b.zip").read_bytes()[:2] == b"PK"


@pytest.mark.usefixtures("leaked")
def test_a_user_a_time_and_an_erasure_are_asked_for(place: Terminal) -> None:
    until = datetime.now(UTC).isoformat()
    user = place.json("evidence", "user", "--subject", "nc/alice")
    (grant,) = user["grants"]
    narrowed = ("--from", "2020-01-01T00:00:00Z", "--to", until)
    before = place.json("evidence", "time", "--grant", grant, *narrowed)
    assert before["leaves"] == user["leaves"] - 1, "not that it was asked for itself"
    place.ok("erase", *ALICE, "--abandon")
    erased = place.json("evidence", "erased", "--erasure", grant)
    assert erased["opened"] == 1
    rows = (place.directory / "erased" / "events.ndjson").read_text()
    assert "Erased" in rows
    assert "alice" not in rows


@pytest.mark.usefixtures("leaked")
def test_nothing_is_replaced_and_nothing_is_half_written(place: Terminal) -> None:
    kept = place.directory / "kept"
    kept.mkdir()
    (kept / "file").write_text("mine")
    error = place.refused(
        CONFIGURATION, "evidence", "kept", "--from", "2020-01-01T00:00:00Z"
    )
    assert "exists and is not replaced" in error["message"]
    assert (kept / "file").read_text() == "mine"
    before = sorted(p.name for p in place.directory.iterdir())
    place.refused(NONE, "evidence", "out", "--token", given="unknown")
    place.refused(INVALID, "evidence", "out", "--from", "2999-01-01T00:00:00Z")
    place.refused(INVALID, "evidence", "out")
    place.refused(INVALID, "evidence", "out", "--subject", "alice")
    place.refused(CONFIGURATION, "evidence", "no/out", "--from", "2020-01-01T00:00:00Z")
    assert sorted(p.name for p in place.directory.iterdir()) == before
