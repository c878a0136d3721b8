"""A whole ledger file: what holds, and that every change is found where it is."""

from __future__ import annotations

import multiprocessing
import shutil
import sqlite3
import threading
from contextlib import closing, suppress
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from grantledger.adapters.cli.leaf_check import check_file
from grantledger.domain.errors import IntegrityError
from grantledger.projections.checkpoints import Checkpoint, read_note, signed_note
from grantledger.projections.verify.command import main
from tests.verify.scene import Verifier, Written, change, note_of, rehead
from tests.verify.tampering import COLUMNS, GRANTS, HEAD, LOG, SEALED, TEXT, cases

SIZE = 28
COLUMNS_OF_TABLES = (
    *(f"stored_events.{c}" for c in ("originator_id", "originator_version", "topic")),
    *(f"stored_events.{c}" for c in ("rowid", "state", "leaf_hash")),
    *(
        f"sealed.{c}"
        for c in ("leaf_index", "entry", "field", "grant_id", "dek_id", "ct")
    ),
    *(f"log_head.{c}" for c in ("next_index", "frontier")),
    *(f"data_keys.{c}" for c in ("dek_id", "grant_id")),
    *(f"current_grants.{c}" for c in ("grant_id", "version", "status", "generation")),
)


def test_a_whole_ledger_holds_against_an_older_checkpoint(
    written: Written, verifier: Verifier
) -> None:
    said = verifier.holds(
        "ledger", written.path, "--older", written.older, "--key", written.key
    )
    assert (said["grants"], said["erased_grants"], said["pruned_leaves"]) == (5, 1, 2)
    assert (said["leaves"], said["older"]) == (SIZE, [22])
    root = read_note(written.newest.read_bytes()).checkpoint.root
    assert said["root"] == root.hex()


def test_without_a_checkpoint_it_says_what_is_not_proven(
    written: Written, verifier: Verifier
) -> None:
    said = verifier.holds("ledger", written.path)
    assert any("rewritten" in limit for limit in said["not_proven"])


def test_two_processes_find_what_one_finds(
    written: Written, verifier: Verifier, tmp_path: Path
) -> None:
    """Both halves are joined: streams, missing parts, and the tree."""
    one = verifier.holds("ledger", written.path, "--processes", 1)
    two = verifier.holds("ledger", written.path, "--processes", 2, "--shared-from", 1)
    assert one == two
    path = written.copy(tmp_path)
    change(path, "DELETE FROM sealed", "UPDATE stored_events SET topic='x'")
    found = verifier.found("ledger", path, "--processes", 1)
    assert found == verifier.found("ledger", path, "--shared-from", 1)


def test_what_a_killed_process_was_to_check_is_checked_by_the_other(
    written: Written, verifier: Verifier
) -> None:
    killed: list[int] = []
    over = threading.Event()

    def kill() -> None:
        while not (killed or over.is_set()):
            for child in multiprocessing.active_children():
                child.kill()
                killed.append(child.pid or 0)

    killer = threading.Thread(target=kill)
    killer.start()
    try:
        said = verifier.holds("ledger", written.path, "--shared-from", 1)
    finally:
        over.set()
        killer.join()
    assert killed
    assert said == verifier.holds("ledger", written.path, "--processes", 1)


@pytest.mark.parametrize(
    ("statement", "found"), cases(LOG, COLUMNS, TEXT, HEAD, SEALED, GRANTS)
)
def test_a_change_is_found_with_its_position(
    written: Written, verifier: Verifier, tmp_path: Path, statement: str, found: str
) -> None:
    path = written.copy(tmp_path)
    change(path, statement)
    findings = verifier.found("ledger", path)
    assert any(found in each for each in findings), findings


def test_leaves_that_changed_places_are_found(
    written: Written, verifier: Verifier, tmp_path: Path
) -> None:
    path = written.copy(tmp_path)
    change(
        path,
        "UPDATE stored_events SET rowid = 99 WHERE rowid = 10",
        "UPDATE stored_events SET rowid = 10 WHERE rowid = 11",
        "UPDATE stored_events SET rowid = 11 WHERE rowid = 99",
    )
    findings = verifier.found("ledger", path)
    assert any(each.startswith("leaf 9: is version 3") for each in findings)
    rehead(path)
    findings = verifier.found("ledger", path)
    assert any(each.startswith("leaf 9: is version 3") for each in findings)


def test_a_sealed_part_that_stands_twice_hides_no_other(
    written: Written, verifier: Verifier, tmp_path: Path
) -> None:
    """Somebody with the file can take a table's key away."""
    path = written.copy(tmp_path)
    change(
        path,
        "CREATE TABLE other AS SELECT * FROM sealed",
        "DROP TABLE sealed",
        "ALTER TABLE other RENAME TO sealed",
        "UPDATE sealed SET (field, ct, dek_id, grant_id) ="
        " (SELECT field, ct, dek_id, grant_id FROM sealed"
        " WHERE leaf_index = 0 AND field != 'by' LIMIT 1)"
        " WHERE leaf_index = 0 AND field = 'by'",
    )
    findings = verifier.found("ledger", path)
    assert any(
        each.startswith("leaf 0: sealed 'by' is missing") for each in findings
    ), findings


def test_a_revocation_cannot_take_the_place_of_a_pruned_leaf(
    written: Written, verifier: Verifier, tmp_path: Path
) -> None:
    """With an old copy a pruned leaf comes back, and the count is right again."""
    path = written.copy(tmp_path)
    change(
        path,
        f"ATTACH '{written.old}' AS old",
        "INSERT INTO sealed SELECT * FROM old.sealed WHERE leaf_index = 19",
        "UPDATE stored_events SET state ="
        " (SELECT state FROM old.stored_events WHERE rowid = 20) WHERE rowid = 20",
        "DELETE FROM sealed WHERE leaf_index = 22",
        "UPDATE stored_events SET state = x'', topic ="
        " (SELECT topic FROM stored_events WHERE rowid = 19) WHERE rowid = 23",
    )
    bob = written.ids["bob"]
    (found,) = [
        each for each in verifier.found("ledger", path) if each.startswith("leaf 22")
    ]
    assert found.endswith(f"is of grant {bob}: only journals are pruned")
    with pytest.raises(IntegrityError, match="only journals are pruned"):
        check_file(path)


def test_whose_published_checkpoints_nobody_vouches_for_is_said(
    written: Written, verifier: Verifier, tmp_path: Path
) -> None:
    """A key of another log tells nothing of their signatures."""
    path = written.copy(tmp_path)
    note = read_note(written.older.read_bytes()).checkpoint
    text = signed_note(replace(note, origin="other.example"), written.signer())
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute(
            "INSERT INTO checkpoints VALUES (?, ?, ?, 0, ?)",
            ("other.example", note.size, note.root, text),
        )
    said = verifier.holds("ledger", path, "--key", written.key)
    assert said["published_checkpoints"] == 1
    limit = "who signed its own checkpoints of other.example: give --key"
    assert limit in said["not_proven"]


def test_a_quorum_is_not_asked_of_a_ledger_and_then_left_out(written: Written) -> None:
    with pytest.raises(SystemExit) as refused:
        main(["ledger", str(written.path), "--quorum", "1"])
    assert refused.value.code == 2


def test_an_erased_grant_whose_key_is_still_there_is_named(
    written: Written, verifier: Verifier, tmp_path: Path
) -> None:
    path = written.copy(tmp_path)
    carol = written.ids["carol"]
    said = verifier.holds("ledger", path)
    assert not any(carol in limit for limit in said["not_proven"])
    change(
        path,
        f"ATTACH '{written.old}' AS old",
        "INSERT INTO data_keys SELECT * FROM old.data_keys"
        " WHERE dek_id NOT IN (SELECT dek_id FROM data_keys)",
    )
    said = verifier.holds("ledger", path)
    limit = f"that grant {carol} is erased: its data key is still there"
    assert limit in said["not_proven"]


def test_a_version_that_is_no_number_is_found(
    written: Written, verifier: Verifier, tmp_path: Path
) -> None:
    path = written.copy(tmp_path)
    change(path, "UPDATE stored_events SET originator_version = 'x' WHERE rowid = 3")
    findings = verifier.found("ledger", path)
    assert any(each.startswith("leaf 2:") for each in findings), findings


def test_a_rewritten_log_is_found_by_the_older_checkpoint_alone(
    written: Written, verifier: Verifier, tmp_path: Path
) -> None:
    """Hashes, head and a new signature are right: whoever did it has the key."""
    path = written.copy(tmp_path)
    change(
        path,
        "UPDATE stored_events SET state = CAST(replace(CAST(state AS TEXT),"
        ' \'"caller":"scanner"\', \'"caller":"nobody!"\') AS BLOB)'
        " WHERE rowid = 19",
    )
    rehead(path)
    verifier.holds("ledger", path)
    signed = tmp_path / "signed.checkpoint"
    signed.write_text(note_of(path, written.ring))
    verifier.holds("ledger", path, "--older", signed, "--key", written.key)
    findings = verifier.found(
        "ledger", path, "--older", written.older, "--key", written.key
    )
    assert len(findings) == 1
    assert "leaves 0 to 21 are not those it covers" in findings[0]
    assert "fork or was rewritten" in findings[0]


def test_a_fork_is_found(written: Written, verifier: Verifier, tmp_path: Path) -> None:
    """Another end after the same beginning: only a newer checkpoint tells."""
    path = written.copy(tmp_path)
    change(
        path,
        "DELETE FROM stored_events WHERE rowid > 27",
        "DELETE FROM sealed WHERE leaf_index > 26",
    )
    rehead(path)
    key = ("--key", written.key)
    verifier.holds("ledger", path, "--older", written.older, *key)
    findings = verifier.found("ledger", path, "--older", written.newest, *key)
    assert any("the ledger has 27" in each for each in findings), findings


def test_an_older_copy_is_found(written: Written, verifier: Verifier) -> None:
    key = ("--key", written.key)
    verifier.holds("ledger", written.old, "--older", written.older, *key)
    findings = verifier.found("ledger", written.old, "--older", written.newest, *key)
    assert len(findings) == 1
    assert "checkpoint of 28 leaves: the ledger has 22: it is an older" in findings[0]
    assert "leaves 22 to 27" in findings[0]


def test_a_checkpoint_that_nobody_known_has_signed_counts_for_nothing(
    written: Written, verifier: Verifier, tmp_path: Path
) -> None:
    kept = tmp_path / "kept"
    asked = ("ledger", written.path, "--older", kept, "--key", written.key)
    text = written.older.read_text()
    kept.write_text(text.replace("\n22\n", "\n21\n"))
    findings = verifier.found(*asked)
    assert "is wrong" in findings[0]
    kept.write_text(
        signed_note(Checkpoint("other.example", 0, bytes(32)), written.signer())
    )
    findings = verifier.found(*asked)
    assert "no known key of the log 'other.example'" in findings[0]
    assert verifier("ledger", written.path, "--older", written.older)["code"] == 2


def test_a_ledger_that_is_being_written_is_checked_as_it_was(
    written: Written, verifier: Verifier, tmp_path: Path
) -> None:
    """What is not committed is not there; what is, is found in the write-ahead log."""
    path = written.copy(tmp_path)
    with closing(sqlite3.connect(path, isolation_level=None)) as writer:
        writer.execute("BEGIN IMMEDIATE")
        writer.execute("UPDATE log_head SET next_index = 3")
        verifier.holds("ledger", path)
        writer.execute("COMMIT")
        assert verifier.found("ledger", path)


def test_nothing_is_left_beside_a_ledger_that_was_checked(
    written: Written, verifier: Verifier, tmp_path: Path
) -> None:
    path = written.copy(tmp_path)
    before = path.read_bytes()
    verifier.holds("ledger", path)
    assert path.read_bytes() == before
    assert [each.name for each in tmp_path.iterdir()] == [path.name]


def test_what_is_no_ledger_is_neither_proven_nor_refuted(
    written: Written, verifier: Verifier, tmp_path: Path
) -> None:
    view = "CREATE VIEW log_head AS SELECT 1 AS one, 0 AS next_index, x'' AS frontier"
    lacking, viewing = written.copy(tmp_path), tmp_path / "viewing.db"
    shutil.copy(lacking, viewing)
    change(lacking, "DROP TABLE sealed")
    change(viewing, "DROP TABLE log_head", view)
    (tmp_path / "empty.db").write_bytes(b"")
    (tmp_path / "other.db").write_bytes(b"no database at all" * 99)
    for name in (lacking.name, viewing.name, "empty.db", "other.db", "none.db"):
        said = verifier("ledger", tmp_path / name)
        assert said["code"] == 2
        assert name in said["error"]


def test_a_file_cut_short_does_not_verify(
    written: Written, verifier: Verifier, tmp_path: Path
) -> None:
    path = tmp_path / "cut.db"
    shutil.copy(written.path, path)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    assert verifier("ledger", path)["code"] in {1, 2}


@settings(
    max_examples=60,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(st.data())
def test_no_file_is_ever_a_crash(
    written: Written, tmp_path: Path, data: st.DataObject
) -> None:
    """Bytes changed anywhere: in headers, pages, the schema, or what is stored."""
    path = written.copy(tmp_path)
    content = bytearray(path.read_bytes())
    for _ in range(data.draw(st.integers(1, 4))):
        at = data.draw(st.integers(0, len(content) - 1) | st.integers(0, 200))
        content[at] = data.draw(st.integers(0, 255))
    path.write_bytes(content)
    assert main(["ledger", str(path)]) in {0, 1, 2}


@settings(
    max_examples=40,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(st.data())
def test_no_value_in_a_column_is_ever_a_crash(
    written: Written, tmp_path: Path, data: st.DataObject
) -> None:
    """SQLite keeps any kind of value in any column."""
    path = written.copy(tmp_path)
    table, column = data.draw(st.sampled_from(COLUMNS_OF_TABLES)).split(".")
    value = data.draw(
        st.none()
        | st.integers(-(1 << 63), (1 << 63) - 1)
        | st.floats()
        | st.text(max_size=20)
        | st.binary(max_size=40)
    )
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("PRAGMA ignore_check_constraints=ON")
        with suppress(sqlite3.Error):
            connection.execute(
                f"UPDATE {table} SET {column} = ? WHERE rowid % 3 = 0"  # noqa: S608 - the test's own names
                if table == "stored_events"
                else f"UPDATE OR IGNORE {table} SET {column} = ?",  # noqa: S608 - the test's own names
                (value,),
            )
        connection.commit()
    assert main(["ledger", str(path)]) in {0, 1, 2}
