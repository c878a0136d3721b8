"""`grantledger demo`: the main job, told and checked."""

from __future__ import annotations

import shlex
import shutil
from pathlib import Path
from typing import Any

import pytest

from grantledger.adapters.cli.demo.checks import checks
from grantledger.adapters.cli.demo.scene import scene
from grantledger.adapters.cli.demo.story import Outcome
from tests.cli.scene import Shell


@pytest.mark.parametrize("profile", ["a", "b"])
def test_the_demo_keeps_what_it_promises(shell: Shell, profile: str) -> None:
    told = shell.json("demo", "--profile", profile)
    directory = Path(told["directory"])
    try:
        _is_as_promised(shell, told)
        # A directory of its own, kept, and nobody else's.
        assert directory.stat().st_mode & 0o777 == 0o700
    finally:
        shutil.rmtree(directory)


def _is_as_promised(shell: Shell, told: dict[str, Any]) -> None:
    assert told["ok"]
    assert told["seconds"] < 15
    assert all(check["ok"] for check in told["checks"]), told["checks"]
    names = [step["name"] for step in told["steps"]]
    assert names[2:] == [
        "consent",
        "hand out",
        "early",
        "expired",
        "rotate",
        "exchange",
        "revoke",
        "try again",
    ]
    events = [line["event"] for line in told["history"]]
    assert events.count("RedemptionIntended") == events.count("Rotated") == 3
    assert events[-1] == "Denied"
    for command in told["commands"]:
        program, *arguments = shlex.split(command)
        assert Path(program).name == "grantledger"
        assert shell.run(*arguments).out


def test_the_demo_reads_well_in_100_columns(shell: Shell) -> None:
    done = shell.run("demo", "--dir", "demo")
    lines = done.out.splitlines()
    report = done.out.partition("Ledger: ")[0]
    assert max(map(len, report.splitlines())) <= 100
    assert any("All as promised" in line for line in lines)
    assert "FAIL" not in done.out
    commands = [line.strip() for line in lines if "grantledger.toml" in line]
    assert len(commands) == 4
    assert str(shell.directory / "demo" / "grantledger.db") in done.out
    shown = shell.run(*shlex.split(commands[0])[1:]).out
    assert "RedemptionIntended" in shown


async def test_a_promise_that_was_not_kept_is_seen(tmp_path: Path) -> None:
    """Nothing happened at all, so nothing of it can be right."""
    async with scene("B", tmp_path / "demo") as stage:
        found = await checks(stage, Outcome(), [])
    kept = [check.what for check in found if check.ok]
    assert kept == [
        "every token that left was recorded",
        "no token stands in clear in any file of the ledger",
    ]


def test_the_demo_overwrites_nothing(shell: Shell) -> None:
    mine = shell.directory / "mine.txt"
    mine.write_text("mine")
    refused = shell.json("demo", "--dir", ".", code=60)
    assert refused["field"] == "dir"
    assert [p.name for p in shell.directory.iterdir()] == ["mine.txt"]
