"""A checkpoint that was kept elsewhere tells what the ledger cannot tell itself."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

from grantledger.adapters.devserver import DevServer
from tests.cli.restoring import CONTINUE, INTEGRITY, INVALID, RESTORED, restore
from tests.cli.terminal import Terminal


def test_a_checkpoint_of_another_key_or_another_log_is_refused(
    backed_up: Terminal, tmp_path: Path
) -> None:
    note = (backed_up.directory / "kept.db.checkpoint").read_text()
    key = backed_up.json("checkpoint", "--key")["key"]
    said = ("verify", "--checkpoint", "kept.db.checkpoint", "--key")
    assert backed_up.json(*said, key)["ok"]
    go = "PeterNeumann+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW"
    backed_up.refused(INTEGRITY, *said, go)
    backed_up.refused(INVALID, *said, "no key")
    for old, new in (("\n6\n", "\n7\n"), ("grantledger/", "grantledger2/")):
        (tmp_path / "x").write_text(note.replace(old, new))
        error = backed_up.refused(INTEGRITY, "verify", "--checkpoint", "x")
        assert "not signed" in error["message"]
    (tmp_path / "x").write_text("no note")
    backed_up.refused(INVALID, "verify", "--checkpoint", "x")
    backed_up.refused(INVALID, "verify", "--checkpoint", "missing")
    config = backed_up.directory / "grantledger.toml"
    config.write_text(config.read_text() + '\n[log]\norigin = "example.com/grants"\n')
    error = backed_up.refused(INTEGRITY, "verify", "--checkpoint", "kept.db.checkpoint")
    assert "example.com/grants/" in error["message"]
    assert backed_up.ok("checkpoint").startswith("example.com/grants/")


def test_a_rewrite_by_somebody_with_the_keys_is_found_by_a_kept_checkpoint(
    backed_up: Terminal, server: DevServer
) -> None:
    """Every hash and row is right again: only what was kept elsewhere tells."""
    ledger = backed_up.directory / "grantledger.db"
    backed_up.ok("checkpoint", "--out", "old.checkpoint")
    with closing(sqlite3.connect(ledger)) as c:
        c.executescript(
            "DELETE FROM stored_events; DELETE FROM sealed; DELETE FROM data_keys;"
            "DELETE FROM current_grants; DELETE FROM journal_index;"
            "DELETE FROM token_index;"
            "UPDATE log_head SET next_index = 0, frontier = x'';"
        )
    (backed_up.directory / "grantledger.db.guard").unlink()
    for user in ("alice", "bob", "carol"):
        backed_up.consented(server, user)
        backed_up.ok("token", "nc", user)
    assert backed_up.json("verify")["ok"]
    error = backed_up.refused(INTEGRITY, "verify", "--checkpoint", "old.checkpoint")
    assert "a fork, or was rewritten" in error["message"]


def test_the_new_log_is_linked_to_the_old_one_and_says_what_was_lost(
    restored: Terminal,
) -> None:
    old = (restored.directory / "kept.db.checkpoint").read_text().splitlines()[0]
    new = restored.json(*CONTINUE)["origin"]
    assert new != old
    assert restored.ok("checkpoint").splitlines()[0] == new
    assert restored.json("checkpoint", "--key")["key"].startswith(f"{new}+")
    assert restored.json("verify", "--checkpoint", "kept.db.checkpoint")["ok"]
    error = restored.refused(RESTORED, "verify", "--checkpoint", "late.checkpoint")
    assert "covers 9 leaves, and the log was continued at 6" in error["message"]
    assert "leaves 6 to 8 are lost" in error["message"]
    restored.refused(INVALID, *CONTINUE)


def test_a_backup_from_before_a_continuation_is_noticed_and_its_origin_known(
    restored: Terminal,
) -> None:
    restored.ok(*CONTINUE)
    restored.ok("checkpoint", "--out", "second.checkpoint")
    restore(restored)
    error = restored.refused(RESTORED, "token", "nc", "alice")
    assert "another log" in error["message"]
    restored.ok(*CONTINUE)
    error = restored.refused(RESTORED, "verify", "--checkpoint", "second.checkpoint")
    assert "the log was continued at 6" in error["message"]


def test_a_checkpoint_tells_an_older_state_without_any_guard(
    restored: Terminal,
) -> None:
    (restored.directory / "grantledger.db.guard").unlink()
    error = restored.refused(RESTORED, "verify", "--checkpoint", "late.checkpoint")
    assert "covers 9 leaves and the ledger has 6" in error["message"]
