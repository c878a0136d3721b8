"""What the command says to people, and what it refuses to be asked."""

from __future__ import annotations

import runpy
import sys
from pathlib import Path

import pytest

from grantledger.projections.verify.command import main
from grantledger.projections.verify.findings import MAX_FINDINGS
from tests.verify.scene import Verifier, Written, change, rehead


def said(capsys: pytest.CaptureFixture[str], *arguments: object) -> tuple[int, str]:
    code = main([*map(str, arguments)])
    captured = capsys.readouterr()
    return code, captured.out + captured.err


def test_people_read_what_was_checked_and_what_was_not(
    written: Written, capsys: pytest.CaptureFixture[str]
) -> None:
    code, text = said(capsys, "ledger", written.path)
    assert code == 0
    lines = text.splitlines()
    assert lines[0] == f"{written.path}: verified"
    assert "  leaves: 28" in lines
    assert any(line.startswith("  not proven: that nobody") for line in lines)


def test_people_read_each_finding_on_a_line_of_its_own(
    written: Written, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    path = written.copy(tmp_path)
    change(path, "UPDATE current_grants SET provider = char(27) || '[2J' || char(10)")
    code, text = said(capsys, "ledger", path)
    assert code == 1
    lines = text.splitlines()
    assert lines[0].endswith("DOES NOT VERIFY")
    assert sum("its provider is" in line for line in lines) == 5
    assert "\x1b" not in text


def test_a_question_that_cannot_be_answered_is_one_line(
    written: Written, capsys: pytest.CaptureFixture[str]
) -> None:
    code, text = said(capsys, "checkpoint", written.newest)
    assert (code, text.count("\n")) == (2, 1)
    assert "Give --key" in text


def test_what_is_sealed_can_be_left_out_and_that_is_said(
    written: Written, verifier: Verifier, tmp_path: Path
) -> None:
    path = written.copy(tmp_path)
    change(path, "UPDATE sealed SET ct = zeroblob(9)")
    answer = verifier.holds("ledger", path, "--log-only")
    assert answer["sealed_parts"] == 0
    assert any("--log-only" in limit for limit in answer["not_proven"])


def test_findings_end_somewhere_and_that_is_said(
    written: Written, verifier: Verifier, tmp_path: Path
) -> None:
    path = written.copy(tmp_path)
    change(
        path,
        "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n LIMIT 2000)"
        " INSERT INTO current_grants SELECT 'g' || i, 1, 1, 'p', CAST(i AS BLOB), 's',"
        " 1, NULL, 1, x'00', x'00' FROM n",
    )
    answer = verifier("ledger", path)
    assert answer["code"] == 1
    assert answer["findings_cut"]
    assert len(answer["findings"]) == MAX_FINDINGS


def test_a_topic_that_is_not_known_is_named_and_no_finding(
    written: Written, verifier: Verifier, tmp_path: Path
) -> None:
    """A newer broker wrote it: the status of its grant cannot be told."""
    path = written.copy(tmp_path)
    newer = "grantledger.user-grant.revoked.v2"
    old = "grantledger.user-grant.revoked.v1"
    change(
        path,
        f"UPDATE stored_events SET topic = '{newer}', state ="  # noqa: S608 - the test's own text
        f" CAST(replace(CAST(state AS TEXT), '{old}', '{newer}') AS BLOB)"
        " WHERE rowid = 23",
    )
    rehead(path)
    answer = verifier.holds("ledger", path)
    assert answer["unknown_topics"] == [newer]
    assert any("unknown topics" in limit for limit in answer["not_proven"])


@pytest.mark.parametrize(
    ("content", "found"),
    [(b"\xff\xfe", "no text"), (b"no key", "no verifier key"), (b"", "Give --key")],
)
def test_a_file_of_keys_that_holds_none_is_refused(
    written: Written, verifier: Verifier, tmp_path: Path, content: bytes, found: str
) -> None:
    keys = tmp_path / "keys.txt"
    keys.write_bytes(content)
    answer = verifier("checkpoint", written.newest, "--keys", keys)
    assert answer["code"] == 2
    assert found in answer["error"]


def test_a_file_that_is_too_long_is_not_read(
    written: Written, verifier: Verifier, tmp_path: Path
) -> None:
    long = tmp_path / "long"
    long.write_bytes(b"x" * (1 << 21))
    answer = verifier("checkpoint", long, "--key", written.key)
    assert answer["code"] == 2
    assert "more than" in answer["error"]


def test_it_runs_as_a_module(written: Written, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = ["verify", "checkpoint", str(written.newest), "--key", written.key]
    monkeypatch.setattr(sys, "argv", asked)
    with pytest.raises(SystemExit) as ended:
        runpy.run_module("grantledger.projections.verify", run_name="__main__")
    assert ended.value.code == 0
