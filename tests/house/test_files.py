"""What every file of the project keeps to."""

from __future__ import annotations

import io
import re
import tokenize
from pathlib import Path

import pytest

from tests.house.tree import ROOT, name, project_files

MAX_LINES = 450

# Written so that this file does not hold what it looks for.
ADDRESS = re.compile(
    r"pypi\.org|pythonhosted\.org|registry\.npmjs|"
    r"(?<![\w.}])/(?:work|root|home|opt|Users)\b"
)

EXCEPTION = re.compile(
    r"(?:noqa|(?:type|pyright): ignore|pragma: no (?:cover|branch))"
    r"(?:\[[^\]]*\])?(?::\s*[A-Z]+\d+(?:[,\s]+[A-Z]+\d+)*)?"
)
REASON = re.compile(r"\s+(?:#|-)\s+\S.{4,}")


def _text(path: Path) -> str:
    return path.read_text(encoding="utf-8", errors="replace")


def test_no_file_holds_a_download_host_or_a_path_of_one_machine() -> None:
    found = [
        f"{name(path)}:{number}: {line.strip()[:100]}"
        for path in project_files()
        for number, line in enumerate(_text(path).splitlines(), start=1)
        if ADDRESS.search(line)
    ]
    assert found == []


@pytest.mark.parametrize(
    ("line", "is_path"),
    [
        ("open('/" + "root/x')", True),
        ("see /" + "work", True),
        ("https://example.com/" + "home", False),
        ("f'{base}/" + "home'", False),
        ("./" + "work/", False),
        ("/" + "workers", False),
    ],
)
def test_a_machine_path_is_told_from_a_route(line: str, *, is_path: bool) -> None:
    assert bool(ADDRESS.search(line)) == is_path


def test_no_lock_file_with_addresses_is_kept() -> None:
    locks = {"uv.lock", "poetry.lock", "pdm.lock", "Pipfile.lock", "pip.conf"}
    assert [name(path) for path in project_files() if path.name in locks] == []


def test_a_file_holds_one_idea() -> None:
    lengths = {name(path): _text(path).count("\n") for path in project_files(".py")}
    assert {path: n for path, n in lengths.items() if n > MAX_LINES} == {}


def _comments(path: Path) -> list[tuple[int, str]]:
    tokens = tokenize.generate_tokens(io.StringIO(_text(path)).readline)
    return [(t.start[0], t.string) for t in tokens if t.type == tokenize.COMMENT]


def _lacks_a_reason(comment: str) -> bool:
    ends = [match.end() for match in EXCEPTION.finditer(comment)]
    return bool(ends) and not REASON.match(comment[ends[-1] :])


def test_each_exception_to_a_rule_carries_its_reason() -> None:
    found = [
        f"{name(path)}:{number}: {comment}"
        for path in project_files(".py")
        for number, comment in _comments(path)
        if _lacks_a_reason(comment)
    ]
    assert found == []


@pytest.mark.parametrize(
    ("comment", "lacks"),
    [
        ("# noqa: S105", True),
        ("# noqa: S105, S106", True),
        ("# type: ignore[arg-type]", True),
        ("# pragma: no cover", True),
        ("# type: ignore[x]  # noqa: S1", True),
        ("# noqa: S105 - a grant type's name", False),
        ("# type: ignore[arg-type]  # the stub is wrong", False),
        ("# type: ignore[x]  # noqa: S1 - both for the stub", False),
        ("# pragma: no cover - only on Windows", False),
        ("# an ordinary comment", False),
    ],
)
def test_a_reason_is_recognised(comment: str, *, lacks: bool) -> None:
    assert _lacks_a_reason(comment) == lacks


LINK = re.compile(r"\]\((?!https?:|mailto:|#)([^)#\s]+)(?:#[^)]*)?\)")


@pytest.mark.parametrize("page", project_files(".md"), ids=name)
def test_every_relative_link_of_a_page_resolves(page: Path) -> None:
    links: list[str] = LINK.findall(_text(page))
    assert [link for link in links if not (page.parent / link).exists()] == []


@pytest.mark.parametrize("script", [".ci/run", "requirements/renew"])
def test_a_script_can_be_run(script: str) -> None:
    assert (ROOT / script).stat().st_mode & 0o111
    assert "set -euo pipefail" in _text(ROOT / script)
