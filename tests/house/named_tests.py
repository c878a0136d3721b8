"""Tests that a page names, as `` `tests/path.py::test_name` `` separated by commas."""

from __future__ import annotations

import ast
import re
from functools import cache

from tests.house.tree import ROOT

TEST = re.compile(r"`(tests/[\w/]+\.py)::([\w:]+)`")


def check_proof(proof: str) -> None:
    """Fail unless the proof names tests that exist, or says why it is open."""
    if proof.startswith("open: "):
        assert len(proof) > len("open: ")
        assert "::" not in proof, "a row is open or proven, never both"
        return
    named = TEST.findall(proof)
    assert named, "name at least one `tests/path.py::test_name`, or write `open: why`"
    rest = TEST.sub("", proof).replace(",", "").strip()
    assert rest == "", f"only tests belong here, not {rest!r}"
    for path, test in named:
        assert (ROOT / path).is_file(), path
        assert test in defined_in(path), f"{path} has no {test}"
        assert test.split("::")[-1].startswith(("test_", "Test")), test


@cache
def defined_in(path: str) -> frozenset[str]:
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
