"""docs/coverage.md has every row once, and every test it names exists."""

from __future__ import annotations

import ast
import re
from functools import cache
from typing import NamedTuple

import pytest

from tests.house.tree import ROOT

EXPECTED = [str(n) for n in range(1, 27)] + [f"F{n}" for n in range(1, 35)]
TEST = re.compile(r"`(tests/[\w/]+\.py)::([\w:]+)`")


class Row(NamedTuple):
    """One line of the table: `| id | what | tests or open |`."""

    id: str
    what: str
    proof: str

    @property
    def is_open(self) -> bool:
        return self.proof.startswith("open: ")


def _rows() -> list[Row]:
    text = (ROOT / "docs/coverage.md").read_text(encoding="utf-8")
    cells = [
        [cell.strip() for cell in line.strip().strip("|").split("|")]
        for line in text.splitlines()
        if re.match(r"\|\s*F?\d+\s*\|", line)
    ]
    return [Row(*row) for row in cells]


@cache
def _defined_in(path: str) -> frozenset[str]:
    """Return the test functions, classes and methods that a file defines."""
    tree = ast.parse((ROOT / path).read_text(encoding="utf-8"))
    found: set[str] = set()
    for node in tree.body:
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            found.add(node.name)
        # A class may be named whole: its cases can come from a library's base class.
        elif isinstance(node, ast.ClassDef):
            found.add(node.name)
            found.update(
                f"{node.name}::{part.name}"
                for part in node.body
                if isinstance(part, ast.FunctionDef | ast.AsyncFunctionDef)
            )
    return frozenset(found)


def test_every_row_is_there_once_and_in_order() -> None:
    assert [row.id for row in _rows()] == EXPECTED


@pytest.mark.parametrize("row", _rows(), ids=lambda row: row.id)
def test_a_row_names_tests_that_exist_or_says_why_it_is_open(row: Row) -> None:
    assert row.what
    if row.is_open:
        assert len(row.proof) > len("open: ")
        assert "::" not in row.proof, "a row is open or proven, never both"
        return
    named = TEST.findall(row.proof)
    assert named, "name at least one `tests/path.py::test_name`, or write `open: why`"
    rest = TEST.sub("", row.proof).replace(",", "").strip()
    assert rest == "", f"only tests belong here, not {rest!r}"
    for path, test in named:
        assert (ROOT / path).is_file(), path
        assert test in _defined_in(path), f"{path} has no {test}"
        assert test.split("::")[-1].startswith(("test_", "Test")), test
