"""Plays the main job against a development server, and shows what came of it."""

from __future__ import annotations

import shlex
import shutil
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

from rich.table import Table
from rich.text import Text

from grantledger.adapters.cli import output
from grantledger.adapters.cli.demo.checks import Check, checks
from grantledger.adapters.cli.demo.scene import (
    ACCESS_TOKEN_SECONDS,
    Scene,
    directory_for,
    scene,
)
from grantledger.adapters.cli.demo.story import Story
from grantledger.adapters.cli.demo.telling import Teller
from grantledger.adapters.cli.history_table import history_table
from grantledger.projections.audit_trail import HistoryLine, history_lines

_PROFILES: dict[str, Literal["A", "B"]] = {"a": "A", "b": "B"}


async def play(letter: str, chosen: Path | None, as_json: bool) -> bool:  # noqa: FBT001 - anyio.run passes by position
    """Play it and show it; return whether all was as promised.

    Args:
        letter: `a` or `b`; see `command.ProfileName`.
        chosen: an empty directory, None for a temporary one.
        as_json: show one document instead.
    """
    started = time.monotonic()
    teller = Teller(silent=as_json)
    directory = directory_for(chosen)
    async with scene(_PROFILES[letter], directory) as stage:
        _introduce(stage, teller)
        outcome = await Story(stage, teller).run()
        grant = await stage.opened.ledger.find(stage.key)
        pairs = await stage.opened.ledger.history(grant.id) if grant else []
        lines = history_lines(pairs)
        found = await checks(stage, outcome, lines)
    seconds = time.monotonic() - started
    commands = _commands(stage)
    if as_json:
        output.write_json(
            {
                "profile": letter,
                "ok": all(c.ok for c in found),
                "seconds": round(seconds, 2),
                "directory": directory,
                "config": stage.place.config,
                "ledger": stage.place.ledger,
                "steps": teller.steps,
                "history": lines,
                "checks": found,
                "commands": commands,
            }
        )
    else:
        _conclude(stage, lines, found, commands, seconds)
    return all(c.ok for c in found)


def _introduce(stage: Scene, teller: Teller) -> None:
    if not teller.silent:
        title = Text("\ngrantledger demo", style="bold")
        title.append(
            f": one grant from consent to its end, profile {stage.profile.lower()}\n",
            style="not bold",
        )
        output.console().print(title)
    extras = "" if stage.has_extras else "; no exchange, no revocation"
    teller.say(
        "server",
        f"{stage.server.issuer} behaves like Nextcloud OIDC {stage.release}",
        f"access tokens live {ACCESS_TOKEN_SECONDS} s, one per grant; "
        f"a refresh token works once{extras}",
    )
    teller.say("ledger", f"fresh: {stage.place.ledger} (mode 0600)")


def _conclude(
    stage: Scene,
    lines: Sequence[HistoryLine],
    found: Sequence[Check],
    commands: Sequence[str],
    seconds: float,
) -> None:
    screen = output.console()
    key = stage.key
    screen.print(
        Text(f"\nHistory of {key.subject} at {key.provider}\n", style="bold"),
        history_table(lines),
        Text("\nChecked\n", style="bold"),
        sep="\n",
    )
    verdicts = Table.grid(padding=(0, 1))
    for check in found:
        mark = Text("ok", style="green") if check.ok else Text("FAIL", style="red")
        said = Text.assemble(check.what, (f" ({check.detail})", "dim"))
        verdicts.add_row("", mark, said)
    screen.print(verdicts)
    verdict = "All as promised" if all(c.ok for c in found) else "NOT AS PROMISED"
    screen.print(Text(f"\n{verdict}, in {seconds:.1f} s.", style="bold"))
    # Plain lines, never wrapped: they are there to be pasted.
    output.write(f"Ledger: {stage.place.ledger}\nLook further:")
    for command in commands:
        output.write(f"  {command}")


def _commands(stage: Scene) -> list[str]:
    # As it was started here: in a virtual environment it is rarely on the PATH.
    name = "grantledger"
    program = name if shutil.which(name) else shlex.quote(sys.argv[0])
    config = shlex.quote(str(stage.place.config))
    key = f"{stage.key.provider} {stage.key.subject}"
    return [
        f"{program} history {key} -c {config}",
        f"{program} status {key} -c {config}",
        f"{program} list -c {config} --json",
        f"{program} verify -c {config}",
    ]
