"""`verify` finds whatever differs from what was written, and names the place."""

from __future__ import annotations

import sqlite3
from contextlib import closing

import pytest

from grantledger.adapters.devserver import DevServer
from tests.cli.terminal import Terminal


@pytest.fixture
def kept(place: Terminal, server: DevServer) -> Terminal:
    """A ledger with two grants and some history."""
    place.consented(server, "alice")
    place.consented(server, "bob")
    place.ok("token", "nc", "alice", "--reason", "because")
    return place


def test_a_ledger_that_is_whole_says_what_was_checked(kept: Terminal) -> None:
    report = kept.json("verify")
    assert report["ok"]
    assert (report["grants"], report["grant_events"]) == (2, 5)
    assert report["leaves"] == report["history_lines"] == 6
    assert len(report["root"]) == 64
    out = kept.ok("verify")
    assert "proves itself" in out
    assert report["root"] in out


@pytest.mark.parametrize(
    ("change", "found"),
    [
        ("UPDATE stored_events SET state = replace(state, 'a', 'b')", "hash"),
        ("UPDATE stored_events SET state = CAST(state AS BLOB) || x'20'", "hash"),
        ("UPDATE stored_events SET leaf_hash = zeroblob(32)", "hash"),
        ("UPDATE stored_events SET originator_id = 'x' WHERE rowid = 2", "no stream"),
        ("UPDATE sealed SET ct = 'text' WHERE leaf_index = 1", "leaf 1 differs"),
        ("UPDATE stored_events SET topic = 'x' WHERE rowid = 2", "contradict"),
        ("DELETE FROM stored_events WHERE rowid = 2", "leaf 1 is missing"),
        ("UPDATE log_head SET next_index = 9", "head"),
        ("DELETE FROM log_head", "head"),
        ("UPDATE sealed SET ct = zeroblob(40) WHERE leaf_index = 1", "leaf 1 differs"),
        ("DELETE FROM sealed WHERE leaf_index = 1", "leaf 1 differs"),
        (
            "INSERT INTO sealed VALUES (99, -1, 'by', 'x', 'y', zeroblob(40))",
            "leaf 99 is missing",
        ),
        (
            "INSERT INTO sealed VALUES (-7, -1, 'by', 'x', 'y', zeroblob(40))",
            "leaf -7 has unnamed",
        ),
        ("DELETE FROM current_grants", "has events and no row"),
        ("UPDATE current_grants SET generation = 4", "grant"),
    ],
)
def test_a_change_is_found(kept: Terminal, change: str, found: str) -> None:
    with closing(sqlite3.connect(kept.directory / "grantledger.db")) as ledger:
        ledger.execute(change)
        ledger.commit()
    error = kept.refused(52, "verify")
    assert error["error"] == "integrity"
    assert found in error["message"]


def test_an_older_row_is_found(kept: Terminal) -> None:
    """A whole older row carries a right code, but the events have gone on."""
    path = kept.directory / "grantledger.db"
    with closing(sqlite3.connect(path)) as ledger:
        old = ledger.execute("SELECT * FROM current_grants").fetchall()
        kept.ok("rotate", "nc", "alice")
        ledger.execute("DELETE FROM current_grants")
        marks = ",".join("?" * len(old[0]))
        ledger.executemany(f"INSERT INTO current_grants VALUES ({marks})", old)  # noqa: S608 - question marks only
        ledger.commit()
    assert "newest event is" in kept.refused(52, "verify")["message"]


def test_a_row_without_events_is_found(kept: Terminal) -> None:
    with closing(sqlite3.connect(kept.directory / "grantledger.db")) as ledger:
        ledger.execute("DELETE FROM sealed")
        ledger.execute("DELETE FROM stored_events")
        ledger.execute("UPDATE log_head SET next_index = 0, frontier = x''")
        ledger.commit()
    assert "newest event is" in kept.refused(52, "verify")["message"]


def test_a_ledger_that_is_locked_away_is_unavailable(kept: Terminal) -> None:
    with closing(sqlite3.connect(kept.directory / "grantledger.db")) as ledger:
        ledger.execute("DROP TABLE sealed")
        ledger.commit()
    assert kept.run("verify").code in {40, 50, 52}
