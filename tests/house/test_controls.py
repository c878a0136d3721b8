"""docs/controls.md: what the software does for each control, by tests that exist."""

from __future__ import annotations

import re

import pytest

from tests.house.named_tests import check_proof
from tests.house.tree import ROOT

PAGE = (ROOT / "docs/controls.md").read_text(encoding="utf-8")


def _rows() -> list[list[str]]:
    return [
        [cell.strip() for cell in line.strip("|").split("|")]
        for line in PAGE.splitlines()
        if re.match(r"\| C[0-9]+ \|", line)
    ]


def test_the_rows_are_numbered_in_order() -> None:
    assert [row[0] for row in _rows()] == [f"C{n}" for n in range(1, len(_rows()) + 1)]
    assert _rows()


@pytest.mark.parametrize("row", _rows(), ids=lambda row: row[0])
def test_a_row_names_control_and_duty_and_tests_that_exist(row: list[str]) -> None:
    _, control, duty, proof = row
    assert control
    assert duty
    check_proof(proof)
