"""The same log gives the same answers, whichever store it is in."""

from __future__ import annotations

import pytest

from tests.cli.terminal import Terminal
from tests.incident.cast import END, THEFT, THIEF_ADDRESS, Told

UNTIL = ("--until", END.isoformat())
SINCE = ("--from", THEFT.isoformat())
CASES = {
    "hand-outs": ("cloud", "alice", *SINCE, *UNTIL),
    "related": ("cloud", "alice", "--address", THIEF_ADDRESS, *SINCE, *UNTIL),
    "gaps": UNTIL,
}


@pytest.mark.parametrize("name", CASES)
def test_postgres_answers_as_sqlite_does(
    desk: Terminal, postgres_desk: Terminal, name: str
) -> None:
    """The directory of the second desk is the current one; the first is named."""
    said = ("ask", name, *CASES[name])
    first = desk.json(*said, "-c", str(desk.directory / "grantledger.toml"))
    second = postgres_desk.json(*said)
    assert first["lines"]
    for part in ("answer", "lines", "asked"):
        assert first[part] == second[part]


def test_postgres_has_erased_what_was_erased(
    postgres_desk: Terminal, told: Told
) -> None:
    found = postgres_desk.json("ask", "erasure", "--grant", str(told.grants["erin"]))
    assert found["answer"][0].endswith("; 0 name its user or a token.")
