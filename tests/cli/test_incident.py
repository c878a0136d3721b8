"""What a leak has touched is looked at, then ended, from the command line."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from grantledger.adapters.devserver import DevServer
from tests.cli.scene import SCOPES
from tests.cli.terminal import Terminal

REVOKE = ("incident", "revoke")
ALICE = ("nc", "alice")


def now() -> str:
    return datetime.now(UTC).isoformat()


def test_a_dry_run_shows_what_a_run_then_ends(
    place: Terminal, server: DevServer
) -> None:
    for user in ("alice", "bob"):
        place.consented(server, user)
    place.ok("token", *ALICE)
    shown = place.json(*REVOKE, "--provider", "nc", "--dry-run")
    assert shown["dry_run"]
    assert [g["outcome"] for g in shown["grants"]] == ["would_end"] * 2
    assert shown["totals"]["live"] == 1
    assert [g["status"] for g in place.json("list")["grants"]] == ["active"] * 2
    words = place.ok(*REVOKE, "--provider", "nc", "--dry-run")
    assert "2 grants: 2 would end, 0 failed; 1 tokens live on at most" in words
    done = place.json(*REVOKE, "--provider", "nc", "--ticket", "SEC-1")
    assert [g["outcome"] for g in done["grants"]] == ["revoked"] * 2
    assert done["totals"] | {"callers": {}} == shown["totals"] | {"callers": {}}
    again = place.json(*REVOKE, "--provider", "nc")
    assert [g["outcome"] for g in again["grants"]] == ["already"] * 2
    assert {g["status"] for g in place.json("list")["grants"]} == {"revoked"}


def test_a_leaked_token_is_read_from_standard_input(
    place: Terminal, server: DevServer
) -> None:
    place.consented(server, "bob")
    leaked = place.consented(server, "alice")
    out = place.ok(*REVOKE, "--token-stdin", "--dry-run", given=leaked)
    assert "alice" in out
    assert "bob" not in out
    assert leaked not in out
    mark = place.json("status", *ALICE)["refresh_token"]["fingerprint"]
    (by_mark,) = place.json(*REVOKE, "--fingerprint", mark, "--dry-run")["grants"]
    (done,) = place.json(*REVOKE, "--token-stdin", given=leaked)["grants"]
    assert by_mark["grant_id"] == done["grant_id"]
    assert done["outcome"] == "revoked"
    none = place.ok(*REVOKE, "--token-stdin", given="unknown")
    assert none == "No grant fits.\n"


@pytest.mark.parametrize(
    ("field", "said"),
    [
        ("selection", ()),
        ("provider", ("--provider", "xx")),
        ("from", ("--from", "yesterday")),
        ("until", ("--until", "2026-01-01T00:00:00")),
        ("ticket", ("--provider", "nc", "--ticket", "x" * 501)),
        ("token", ("--token-stdin",)),
    ],
)
def test_what_selects_nothing_that_can_be_is_refused(
    place: Terminal, field: str, said: tuple[str, ...]
) -> None:
    assert place.refused(20, *REVOKE, *said)["field"] == field


def test_a_grant_is_shown_as_it_was(place: Terminal, server: DevServer) -> None:
    before = now()
    place.consented(server, "alice")
    consented = now()
    place.ok("revoke", *ALICE)
    assert place.json("status", *ALICE)["status"] == "revoked"
    then = place.json("status", *ALICE, "--at", consented)
    assert (then["status"], then["version"]) == ("active", 1)
    assert then["as_of"] == {"log_size": 1, "leaf": 0}
    assert place.json("status", *ALICE, "--version", "1")["status"] == "active"
    assert "As it was with leaf 0" in place.ok("status", *ALICE, "--version", "1")
    place.refused(10, "status", *ALICE, "--at", before)
    place.refused(10, "status", *ALICE, "--version", "99")
    assert place.refused(20, "status", *ALICE, "--at", "then")["field"] == "at"
    lines = place.json("history", *ALICE, "--until", consented)["history"]
    assert [line["event"] for line in lines] == ["Provisioned"]
    assert len(place.json("history", *ALICE)["history"]) > 1
    assert place.json("history", *ALICE, "--until", before)["history"] == []


def test_a_list_is_narrowed_and_gone_on_with(
    place: Terminal, server: DevServer
) -> None:
    for user in ("alice", "bob", "carol"):
        place.consented(server, user)
    place.consented(server, "alice", (*SCOPES[:2],), "--label", "work")
    assert place.client is not None

    def listed(*options: str) -> list[str]:
        return sorted(g["subject"] for g in place.json("list", *options)["grants"])

    assert listed("--label", "work") == ["alice"]
    assert listed("--provider", "nc", "--subject", "alice") == ["alice", "alice"]
    assert listed("--client-id", place.client.client_id, "--scope", SCOPES[2]) == [
        "alice",
        "bob",
        "carol",
    ]
    hour = (datetime.now(UTC) - timedelta(hours=1)).isoformat()
    assert listed("--changed-until", hour) == []
    assert len(listed("--changed-from", hour)) == 4
    first = place.json("list", "--limit", "3")
    second = place.json("list", "--after", first["after"])
    assert len(first["grants"]) == 3
    assert (len(second["grants"]), second["after"]) == (1, None)
    assert first["after"] in place.ok("list", "--limit", "3")
    assert place.refused(20, "list", "--limit", "0")["field"] == "limit"
    assert place.refused(20, "list", "--subject", "alice")["field"] == "provider"
