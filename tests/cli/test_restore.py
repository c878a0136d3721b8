"""The restore drill at the shell: back up, go on, restore, refuse, continue, go on."""

from __future__ import annotations

import json
import shutil
from typing import Any

import pytest

from grantledger.adapters.devserver import DevServer
from tests.cli.restoring import (
    CONTINUE,
    INTEGRITY,
    INVALID,
    RESTORED,
    asked,
    restore,
)
from tests.cli.terminal import Terminal

WRITES = (
    ("token", "nc", "alice", "--reason", "because"),
    ("token", "nc", "bob", "--reason", "because"),
    ("rotate", "nc", "alice"),
    ("revoke", "nc", "bob"),
    ("settle",),
    ("checkpoint",),
    ("backup", "another.db"),
)


def evidence(place: Terminal, user: str) -> Any:  # noqa: ANN401 - whatever JSON says
    lines = place.json("history", "nc", user)["history"]
    return next(line for line in lines if line["facts"].get("reason") == "restored")


def test_a_restored_ledger_hands_out_sends_and_signs_nothing(
    restored: Terminal, server: DevServer
) -> None:
    before = asked(server)
    for command in WRITES:
        error = restored.refused(RESTORED, *command)
        assert error["error"] == "ledger_restored"
        assert "it has 6 leaves, and 9 are known" in error["message"]
        assert "grantledger continue" in error["message"]
    assert asked(server) == before
    assert not (restored.directory / "another.db").exists()


def test_a_restored_ledger_starts_no_consent(
    restored: Terminal, server: DevServer
) -> None:
    """A code redeemed now would bring tokens that could not be stored."""
    before = asked(server)
    restored.refused(RESTORED, "connect", "nc", "--no-browser")
    assert asked(server) == before


def test_a_restored_ledger_is_read_all_the_same(restored: Terminal) -> None:
    for command in (
        ("verify",),
        ("list",),
        ("status", "nc", "alice"),
        ("history", "nc", "alice"),
    ):
        done = restored.run(*command)
        assert done.code == 0
        assert done.err.startswith("grantledger: ledger_restored: ")
    assert restored.run("verify", "--checkpoint", "kept.db.checkpoint").code == 0


def test_after_continue_every_grant_needs_consent_and_a_consent_mends_it(
    restored: Terminal, server: DevServer
) -> None:
    done = restored.json(*CONTINUE)
    assert (done["known_size"], done["found_size"]) == (9, 6)
    assert (done["quarantined"], done["erased"], done["resumed"]) == (2, 0, False)
    before = asked(server)
    for user in ("alice", "bob"):
        error = restored.refused(11, "token", "nc", user)
        assert error["reason"] == "restored"
        said = json.dumps(evidence(restored, user))
        assert "6 leaves of its log were there, 9 were known outside" in said
    assert asked(server) == before
    restored.consented(server, "alice")
    assert restored.json("token", "nc", "alice")["access_token"]
    restored.refused(11, "token", "nc", "bob")
    assert restored.json("verify")["ok"]
    assert {r.outcome for r in server.state.redemptions} == {"rotated"}


def test_a_restored_ledger_that_has_grown_again_is_noticed(restored: Terminal) -> None:
    """Without its guard it goes on; who knew the lost leaves notices the others."""
    guard = restored.directory / "grantledger.db.guard"
    known = guard.read_bytes()
    guard.unlink()
    for _ in range(3):
        restored.ok("token", "nc", "alice")
    assert restored.leaves == 9
    guard.write_bytes(known)
    error = restored.refused(RESTORED, "token", "nc", "alice")
    assert "9 leaves, but leaf 8 is not the last of the 9 known" in error["message"]
    error = restored.refused(INTEGRITY, "verify", "--checkpoint", "late.checkpoint")
    assert "the first 9 of 9 leaves are not those" in error["message"]
    assert restored.json(*CONTINUE)["quarantined"] == 2


def test_the_newest_state_restored_is_no_alarm(backed_up: Terminal) -> None:
    restore(backed_up)
    assert backed_up.json("token", "nc", "alice")["access_token"]
    backed_up.refused(INVALID, *CONTINUE)


def test_a_new_machine_without_a_guard_says_force(restored: Terminal) -> None:
    (restored.directory / "grantledger.db.guard").unlink()
    restored.refused(INVALID, *CONTINUE)
    (restored.directory / "grantledger.db.guard").unlink()
    done = restored.json(*CONTINUE, "--force")
    assert (done["known_size"], done["found_size"], done["quarantined"]) == (6, 6, 2)


def test_a_missing_guard_is_said_once_and_made_anew(
    backed_up: Terminal, caplog: pytest.LogCaptureFixture
) -> None:
    guard = backed_up.directory / "grantledger.db.guard"
    guard.unlink()
    caplog.clear()
    backed_up.ok("token", "nc", "alice")
    assert f"there is no guard at {guard}" in caplog.text
    caplog.clear()
    backed_up.ok("token", "nc", "alice")
    assert caplog.text == ""
    assert guard.stat().st_mode & 0o777 == 0o600


def test_a_replica_whose_operator_did_not_know_enough_refuses_too(
    restored: Terminal,
) -> None:
    """Two replicas, two guards: the one that has seen more is not talked over."""
    config = restored.directory / "grantledger.toml"
    text = config.read_text()
    guard = restored.directory / "grantledger.db.guard"
    shutil.copyfile(guard, restored.directory / "second.guard")
    guard.unlink()
    assert restored.json(*CONTINUE, "--force")["known_size"] == 6
    config.write_text(text.replace("[ledger]", '[ledger]\nguard = "second.guard"'))
    error = restored.refused(RESTORED, "token", "nc", "alice")
    assert "went on from 6 known leaves, and 9 are known here" in error["message"]
    assert restored.json(*CONTINUE)["known_size"] == 9
    config.write_text(text)
    restored.refused(11, "token", "nc", "alice")


def test_a_replica_that_knew_less_accepts_the_continuation(
    restored: Terminal,
) -> None:
    config = restored.directory / "grantledger.toml"
    text = config.read_text()
    guard = restored.directory / "grantledger.db.guard"
    shutil.copyfile(guard, restored.directory / "second.guard")
    restored.json(*CONTINUE)
    config.write_text(text.replace("[ledger]", '[ledger]\nguard = "second.guard"'))
    restored.refused(11, "token", "nc", "alice")
    size = json.loads((restored.directory / "second.guard").read_text())["size"]
    assert size == restored.leaves


def test_a_guard_that_was_changed_is_refused_by_name(
    backed_up: Terminal, server: DevServer
) -> None:
    guard = backed_up.directory / "grantledger.db.guard"
    changed = guard.read_text().replace('"size": 6', '"size": 3')
    guard.write_text(changed)
    before = asked(server)
    error = backed_up.refused(INTEGRITY, "token", "nc", "alice")
    assert str(guard) in error["message"]
    backed_up.refused(INTEGRITY, *CONTINUE)
    assert asked(server) == before
    assert guard.read_text() == changed
    assert backed_up.run("verify").code == 0


@pytest.mark.parametrize("name", ["reason", "ticket"])
def test_words_of_a_continuation_are_bounded(terminal: Terminal, name: str) -> None:
    said = {"reason": "r", "ticket": "t"} | {name: "x" * 501}
    options = [part for n, text in said.items() for part in (f"--{n}", text)]
    assert terminal.refused(INVALID, "continue", *options)["field"] == name
