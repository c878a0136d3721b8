"""`grantledger rebuild` compares what is derived with the log, and makes it good."""

from __future__ import annotations

import os
import pty
import sqlite3
import subprocess
from contextlib import closing, suppress

import pytest

from grantledger.adapters.devserver import DevServer
from tests.cli.scene import GRANTLEDGER
from tests.cli.terminal import Terminal


@pytest.fixture
def kept(place: Terminal, server: DevServer) -> Terminal:
    """A ledger with some history."""
    place.consented(server, "alice")
    place.ok("token", "nc", "alice", "--reason", "because")
    return place


def changed(place: Terminal, statement: str) -> None:
    path = place.directory / "grantledger.db"
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.execute(statement)


def test_a_trail_that_is_whole_is_replaced_by_the_same(kept: Terminal) -> None:
    said = kept.json("rebuild")
    assert (said["what"], said["differing"], said["replaced"]) == ("audit", 0, True)
    assert said["rows"] == said["leaves"] == kept.leaves
    assert "is what the log says" in kept.ok("rebuild", "audit", "--compare")


def test_a_row_that_differs_is_named_and_made_good(kept: Terminal) -> None:
    kept.ok("rebuild")
    changed(kept, "UPDATE audit_rows SET caller = 'other' WHERE entry = 0")
    done = kept.run("rebuild", "--compare", "--json")
    assert done.code == 1
    assert [one["what"] for one in done.json["differences"]] == ["changed"]
    assert "differs from the log in 1 places" in kept.run("rebuild", "--compare").out
    assert "is made good" in kept.ok("rebuild")
    assert kept.json("rebuild", "--compare")["differing"] == 0


@pytest.mark.parametrize(
    ("change", "found"),
    [
        ("UPDATE audit_rows SET outcome = 'denied'", "leaf 0, entry -1, was changed"),
        ("DELETE FROM audit_rows WHERE leaf_index = 1", "leaf 1, entry -1, is missing"),
        ("DELETE FROM audit_terms WHERE leaf_index = 1", "is found by other things"),
        ("UPDATE audit_rows SET entry = 5 WHERE entry = 0", "entry 0, is missing"),
        ("UPDATE audit_position SET next_index = next_index + 9", "there are"),
        ("UPDATE audit_position SET live = 1", "no live side, or two"),
    ],
)
def test_verify_finds_a_change_of_the_trail(
    kept: Terminal, change: str, found: str
) -> None:
    kept.ok("rebuild")
    assert kept.json("verify")["audit_rows"] == kept.leaves
    changed(kept, change)
    assert found in kept.refused(52, "verify")["message"]


def test_the_index_of_tokens_is_made_good(kept: Terminal) -> None:
    changed(kept, "DELETE FROM token_index WHERE leaf_index = 0")
    assert kept.run("rebuild", "tokens", "--compare").code == 1
    assert kept.json("rebuild", "tokens")["differing"] == 1
    assert kept.json("rebuild", "tokens", "--compare")["differing"] == 0


def test_a_file_has_one_writer(kept: Terminal) -> None:
    said = kept.refused(20, "rebuild", "--workers", "2")
    assert said["field"] == "workers"


def test_a_terminal_gets_a_bar(kept: Terminal) -> None:
    leaves = kept.leaves
    ours, theirs = pty.openpty()
    environ = dict(os.environ, COLUMNS="100", NO_COLOR="1", TERM="xterm")
    with (
        os.fdopen(ours, "rb") as screen,
        subprocess.Popen(
            [GRANTLEDGER, "rebuild"],
            cwd=kept.directory,
            env=environ,
            stdout=subprocess.DEVNULL,
            stderr=theirs,
        ) as process,
    ):
        os.close(theirs)
        shown = bytearray()
        with suppress(OSError):  # the other side is closed: the end, on Linux
            while data := os.read(screen.fileno(), 4096):
                shown += data
        assert process.wait(60) == 0
    assert f"{leaves}/{leaves}".encode() in shown
