"""The walk through the questions in docs/auditors.md says what its commands say."""

from __future__ import annotations

import re
import shlex
from dataclasses import dataclass

import pytest

from grantledger.projections.questions import QUESTIONS
from tests.cli.terminal import Terminal
from tests.house.tree import ROOT
from tests.incident.cast import Told

PAGE = ROOT / "docs" / "auditors.md"
LEFT_OUT = "…"
_BLOCK = re.compile(
    r"^```console\n\$ (grantledger [^\n]+)\n(.*?)^```$", re.MULTILINE | re.DOTALL
)


@dataclass(frozen=True)
class Shown:
    """A command of the page, and what it shows of its answer."""

    command: str
    lines: tuple[str, ...]


def shown() -> list[Shown]:
    text = PAGE.read_text(encoding="utf-8")
    return [
        Shown(found[1], tuple(found[2].splitlines())) for found in _BLOCK.finditer(text)
    ]


def pattern(line: str) -> str:
    """Return what a line of the page matches: blanks are alike, `…` is anything."""
    parts = [
        r"\s+".join(re.escape(word) for word in part.split())
        for part in line.split(LEFT_OUT)
    ]
    return r".*?".join(parts)


def test_the_page_asks_every_question_in_its_words() -> None:
    text = " ".join(PAGE.read_text(encoding="utf-8").split())
    for one in QUESTIONS:
        assert f"**{one.number}. {one.words}**" in text


def test_the_page_has_every_command_that_the_program_names() -> None:
    commands = [one.command for one in shown()]
    for question in QUESTIONS:
        for named in question.command.split("; "):
            words = re.match(r"[a-z -]+", named)
            assert words is not None
            begins = words[0].split(" --")[0].strip()
            assert any(command.startswith(begins) for command in commands), begins


@pytest.mark.parametrize("one", shown(), ids=lambda one: one.command[12:40])
def test_a_command_of_the_page_says_what_the_page_shows(
    desk: Terminal, told: Told, one: Shown, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "140")
    stands_for = {
        "$ALICE": str(told.grants["alice"]),
        "$WORK": str(told.grants["alice/work"]),
        "$ERIN": str(told.grants["erin"]),
        "$KEY": told.keys[0],
    }
    command, _, name = one.command.partition(" < ")
    arguments = [stands_for.get(word, word) for word in shlex.split(command)[1:]]
    given = (desk.directory / name).read_text(encoding="utf-8") if name else ""
    said = desk.ok(*arguments, given=given)
    for token in (told.first_refresh, told.stolen_access, told.exchanged):
        assert token not in said
    for line in one.lines:
        assert re.search(pattern(line), said), (line, said)
