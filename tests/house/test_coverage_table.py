"""docs/coverage.md has every row once, and every test it names exists."""

from __future__ import annotations

import re
from typing import NamedTuple

import pytest

from tests.house.named_tests import check_proof
from tests.house.tree import ROOT

EXPECTED = [str(n) for n in range(1, 27)] + [f"F{n}" for n in range(1, 35)]


class Row(NamedTuple):
    """One line of the table: `| id | what | tests or open |`."""

    id: str
    what: str
    proof: str


def _rows() -> list[Row]:
    text = (ROOT / "docs/coverage.md").read_text(encoding="utf-8")
    cells = [
        [cell.strip() for cell in line.strip().strip("|").split("|")]
        for line in text.splitlines()
        if re.match(r"\|\s*F?\d+\s*\|", line)
    ]
    return [Row(*row) for row in cells]


def test_every_row_is_there_once_and_in_order() -> None:
    assert [row.id for row in _rows()] == EXPECTED


@pytest.mark.parametrize("row", _rows(), ids=lambda row: row.id)
def test_a_row_names_tests_that_exist_or_says_why_it_is_open(row: Row) -> None:
    assert row.what
    check_proof(row.proof)
