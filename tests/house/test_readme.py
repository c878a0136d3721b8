"""The two commands a newcomer runs, and what else the front page promises."""

from __future__ import annotations

import re
import tomllib

import pytest

from tests.house.tree import ROOT

README = ROOT / "README.md"


def _block_after(mark: str) -> list[str]:
    """Return the lines of the fenced block that follows `mark`."""
    lines = README.read_text(encoding="utf-8").splitlines()
    assert lines.count(mark) == 1
    rest = lines[lines.index(mark) + 1 :]
    assert rest[0].startswith("```"), "the block follows its mark at once"
    return rest[1 : rest.index("```", 1)]


@pytest.mark.parametrize("what", ["run", "test"])
def test_a_newcomer_needs_one_line(what: str) -> None:
    (command,) = _block_after(f"<!-- newcomer: {what} -->")
    assert command.startswith("python3.11 -m venv "), "nothing but python and pip"
    for pins in re.findall(r"-r (\S+)", command):
        assert (ROOT / pins).is_file()


def test_there_are_two_such_commands() -> None:
    assert len(re.findall(r"<!-- newcomer: ", README.read_text("utf-8"))) == 2


def test_ci_runs_the_command_that_the_readme_shows() -> None:
    script = (ROOT / ".ci/run").read_text(encoding="utf-8")
    assert "newcomer test" in script
    assert "README.md" in script


@pytest.mark.parametrize("page", ["callers", "operators", "auditors", "threat-model"])
def test_the_readme_leads_to_the_page_of_each_reader(page: str) -> None:
    assert f"(docs/{page}.md)" in README.read_text(encoding="utf-8")


def test_the_changelog_knows_this_version() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    heading = re.compile(rf"^## {re.escape(project['version'])}\b", re.MULTILINE)
    assert heading.search((ROOT / "CHANGELOG.md").read_text(encoding="utf-8"))
