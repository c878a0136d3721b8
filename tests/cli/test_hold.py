"""`hold`: what is held is not destroyed, and the commands say so."""

from __future__ import annotations

from grantledger.adapters.devserver import DevServer
from tests.cli.terminal import Terminal

ALICE = ("nc", "alice")
USER = ("--provider", "nc", "--subject", "alice")


def test_a_held_user_is_not_erased_until_the_release(
    place: Terminal, server: DevServer
) -> None:
    place.consented(server)
    hold = place.json("hold", "set", *USER, "--reason", "matter 7", "--ticket", "T-7")
    assert (hold["scope"], len(hold["grants"])) == ("subject", 1)
    error = place.refused(14, "erase", *ALICE)
    assert error["error"] == "legal_hold"
    assert hold["hold_id"] in error["message"]
    assert place.json("status", *ALICE)["status"] == "active"
    assert place.json("hold", "list") == {"holds": [hold]}
    assert "a user at" in place.ok("hold", "list")
    place.ok("hold", "release", hold["hold_id"], "--reason", "over")
    assert place.json("erase", *ALICE)["status"] == "erased"
    assert "Nothing is under legal hold" in place.ok("hold", "list")
    place.refused(20, "hold", "release", hold["hold_id"], "--reason", "again")


def test_nothing_is_pruned_while_everything_is_held(
    place: Terminal, server: DevServer
) -> None:
    place.consented(server)
    place.ok("token", *ALICE, "--caller", "job-1")
    place.ok("hold", "set", "--everything", "--reason", "matter 7")
    prune = ("prune", "--before", "2020-01-01", "--reason", "old")
    assert place.refused(14, *prune)["error"] == "legal_hold"
    assert place.json(*prune, "--dry-run")["prunable"] == 0


def test_a_hold_names_one_thing_that_there_is(
    place: Terminal, server: DevServer
) -> None:
    place.consented(server)
    why = ("--reason", "matter 7")
    place.refused(20, "hold", "set", *why)
    place.refused(20, "hold", "set", *why, "--provider", "nc")
    place.refused(20, "hold", "set", *why, *USER, "--everything")
    place.refused(20, "hold", "set", "--reason", "", "--everything")
    nobody = "00000000-0000-4000-8000-000000000000"
    place.refused(10, "hold", "set", *why, "--grant", nobody)
    assert place.json("hold", "list") == {"holds": []}


def test_holds_and_rotations_stand_in_the_trail(
    place: Terminal, server: DevServer
) -> None:
    """With who did it, in every export, and the ledger proves as before."""
    place.consented(server)
    hold = place.json("hold", "set", *USER, "--reason", "matter 7")
    place.ok("hold", "release", hold["hold_id"], "--reason", "over")
    place.ok("keys", "rotate", "--use", "sign")
    events = ("LegalHoldSet", "LegalHoldReleased", "KeyRotated")
    for event in events:
        (row,) = place.json("audit", "--event", event)["rows"]
        assert row["event"] == event
        assert (row["outcome"], row["actor_kind"]) == ("success", "admin")
    for form in ("ocsf", "ndjson", "otel"):
        place.ok("audit", "--format", form, "--out", f"trail.{form}")
        said = (place.directory / f"trail.{form}").read_text(encoding="utf-8")
        assert all(event in said for event in events)
    assert place.json("verify")["ok"]
