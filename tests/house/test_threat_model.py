"""docs/threat-model.md: every kind of threat, and for each row a test that exists."""

from __future__ import annotations

import re

import pytest

from tests.house.named_tests import TEST, check_proof
from tests.house.tree import ROOT, name, project_files

PAGE = (ROOT / "docs/threat-model.md").read_text(encoding="utf-8")
KINDS = "STRIDE"


def _rows() -> list[list[str]]:
    return [
        [cell.strip() for cell in line.strip("|").split("|")]
        for line in PAGE.splitlines()
        if re.match(r"\| [A-Z][0-9]+ \|", line)
    ]


def test_each_kind_of_threat_has_rows_numbered_in_order() -> None:
    ids = [row[0] for row in _rows()]
    assert "".join(dict.fromkeys(one[0] for one in ids)) == KINDS
    for kind in KINDS:
        numbers = [int(one[1:]) for one in ids if one[0] == kind]
        assert numbers == list(range(1, len(numbers) + 1))


@pytest.mark.parametrize("row", _rows(), ids=lambda row: row[0])
def test_a_row_names_threat_and_defence_and_tests_or_says_why_it_is_open(
    row: list[str],
) -> None:
    _, threat, defence, proof = row
    assert threat
    assert defence
    check_proof(proof)


def test_every_file_of_the_security_tests_stands_in_a_row() -> None:
    """A test of a threat that nobody has named has a row that is missing."""
    named = {path for path, _ in TEST.findall(PAGE)}
    there = {
        name(path)
        for path in project_files(".py")
        if name(path).startswith("tests/security/test_")
    }
    assert there
    assert there <= named
