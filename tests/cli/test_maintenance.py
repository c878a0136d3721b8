"""`erase` and `prune`: what they say, and what is left for the other commands."""

from __future__ import annotations

import json
import sqlite3
from contextlib import closing
from datetime import UTC, datetime, timedelta

import pytest

from grantledger.adapters.devserver import DevServer
from tests.cli.terminal import Terminal

ALICE = ("nc", "alice")


def test_an_erasure_says_what_was_destroyed_and_what_is_left(
    place: Terminal, server: DevServer
) -> None:
    place.consented(server)
    place.ok("token", *ALICE, "--caller", "job-1")
    receipt = place.json("erase", *ALICE)
    assert receipt["status"] == "erased"
    assert receipt["reason"] == "user_request"
    assert receipt["sealed_parts"] > 0
    assert receipt["freed"]
    assert receipt["backups_until"] is None
    assert receipt["abandoned"] == []
    assert [line["caller"] for line in receipt["live"]] == ["job-1"]
    assert server.state.live_access_tokens == []
    error = place.refused(10, "status", *ALICE)
    assert error["error"] == "not_provisioned"
    (listed,) = place.json("list")["grants"]
    assert (listed["grant_id"], listed["subject"]) == (receipt["grant_id"], "")
    assert "(erased)" in place.ok("list")
    report = place.json("verify")
    assert (report["erased_grants"], report["pruned_leaves"]) == (1, 0)
    history = place.json("history", "--grant", receipt["grant_id"])
    assert history["status"] == "erased"
    told = {line["event"]: line["actor"] for line in history["history"]}
    assert told["Provisioned"] == "(erased)"
    assert told["Erased"].startswith("cli:")
    assert "1 grants, each by its last event" in place.ok("verify")


def test_the_receipt_says_until_when_backups_open_it(
    place: Terminal, server: DevServer
) -> None:
    path = place.directory / "grantledger.toml"
    said = path.read_text(encoding="utf-8")
    path.write_text(
        said.replace("[ledger]\n", "[ledger]\nbackup_days = 30\narchive_days = 7\n")
    )
    for user in ("alice", "bob"):
        place.consented(server, user)
    receipt = place.json("erase", *ALICE, "--reason", "retention")
    assert receipt["reason"] == "retention"
    until = datetime.fromisoformat(receipt["backups_until"])
    erased_at = datetime.fromisoformat(receipt["erased_at"])
    assert until - erased_at == timedelta(days=30)
    archives = datetime.fromisoformat(receipt["archives_until"])
    assert archives - erased_at == timedelta(days=7)
    assert any("backups from before" in what for what in receipt["remains"])
    listed = next(place.directory.glob("*.erasures")).read_text(encoding="utf-8")
    assert json.loads(listed)["backups_until"][:19] == receipt["backups_until"][:19]
    out = place.ok("erase", "nc", "bob")
    assert "its data key and" in out
    assert "they open it until" in out


def test_what_the_server_did_not_confirm_stops_it_or_is_given_up(
    place: Terminal, server: DevServer
) -> None:
    place.consented(server)
    server.state.outage(3, endpoint="revocation", retry_after=3600)
    error = place.refused(43, "erase", *ALICE)
    assert error["error"] == "still_owed"
    assert place.json("status", *ALICE)["status"] == "revoked"
    out = place.ok("erase", *ALICE, "--abandon")
    assert "not revoked there: erased" in out
    assert "as long as they and the key ring are kept" in " ".join(out.split())


@pytest.mark.parametrize(
    "arguments",
    [
        (),
        ("nc",),
        ("nc", "alice", "--resume"),
        ("--resume", "--from-list"),
    ],
)
def test_what_is_to_be_erased_is_said_once(
    place: Terminal, arguments: tuple[str, ...]
) -> None:
    assert place.refused(20, "erase", *arguments)["field"] == "subject"


def test_an_erasure_that_was_cut_short_is_resumed(
    place: Terminal, server: DevServer
) -> None:
    place.consented(server)
    place.json("erase", *ALICE)
    assert place.json("erase", "--resume") == {"finished": 0}
    assert "are finished" in place.ok("erase", "--resume", "--thorough")


def test_after_a_restore_the_list_is_applied(
    place: Terminal, server: DevServer
) -> None:
    place.consented(server)
    path = place.directory / "grantledger.db"
    aside = place.directory / "aside.db"
    with closing(sqlite3.connect(path)) as one, closing(sqlite3.connect(aside)) as two:
        one.backup(two)
    receipt = place.json("erase", *ALICE)
    aside.replace(path)
    assert place.json("status", *ALICE)["status"] == "active"
    assert place.json("continue", "--reason", "a drill")["erased"] == 1
    done = {"erased_again": 0, "finished": 0, "done": 1, "unknown": 0, "held": 0}
    assert place.json("erase", "--from-list") == done
    assert place.json("list")["grants"][0]["grant_id"] == receipt["grant_id"]
    assert "1 were done" in place.ok("erase", "--from-list")
    place.ok("verify")


def test_the_journal_is_pruned_after_a_look(place: Terminal, server: DevServer) -> None:
    place.consented(server)
    place.ok("token", *ALICE)
    place.refused(21, "token", *ALICE, "--scope", "not.granted")
    look = ("prune", "--before", "2999-01-01", "--reason", "old enough")
    plan = place.json(*look, "--dry-run")
    assert (plan["dry_run"], plan["pruned"]) == (True, 0)
    assert (plan["prunable"], plan["entries"], plan["kept"]) == (2, 2, 1)
    assert "2 journal leaves below" in place.ok(*look, "--dry-run")
    assert place.refused(20, *look)["field"] == "before"
    at = datetime.now(UTC)
    now = ("prune", "--before", at.isoformat(), "--reason", "old enough")
    done = place.json(*now, "--outcome", "denied")
    assert (done["pruned"], done["kept"], done["freed"]) == (2, 1, True)
    assert "0 journal leaves" in place.ok(*now)
    report = place.json("verify")
    assert (report["pruned_leaves"], report["erased_grants"]) == (2, 0)
    assert "2 journal leaves, as the log said" in place.ok("verify")
    events = [line["event"] for line in place.json("history", *ALICE)["history"]]
    assert events[-1] == "HandedOut"


@pytest.mark.parametrize("before", ["soon", "2026-13-01", ""])
def test_a_time_that_is_none_is_refused(place: Terminal, before: str) -> None:
    error = place.refused(20, "prune", "--before", before, "--reason", "old")
    assert error["field"] == "before"


@pytest.mark.parametrize(
    "arguments",
    [(), ("nc",), ("nc", "alice", "--grant", "8dd4d0cc-0c6c-4b8e-8ba1-0f4f4c8f6a01")],
)
def test_whose_history_is_said_once(
    place: Terminal, arguments: tuple[str, ...]
) -> None:
    assert place.refused(20, "history", *arguments)["field"] == "subject"


def test_a_grant_that_is_not_there_has_no_history(place: Terminal) -> None:
    unknown = "8dd4d0cc-0c6c-4b8e-8ba1-0f4f4c8f6a01"
    assert unknown in place.refused(10, "history", "--grant", unknown)["message"]
