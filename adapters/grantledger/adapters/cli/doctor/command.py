"""`grantledger doctor`: looks, tells, and changes nothing."""

from __future__ import annotations

import anyio
import typer
from rich.text import Text

from grantledger.adapters.cli import output
from grantledger.adapters.cli.doctor.examining import examine
from grantledger.adapters.cli.doctor.findings import Level
from grantledger.adapters.cli.options import Config, Json

_SIGNS = {Level.OK: "ok", Level.WARNING: "look", Level.ERROR: "WRONG"}


def doctor(config: Config = None, *, as_json: Json = False) -> None:
    """Tell what is wrong and what to do; the exit code is that of the first error."""
    found = anyio.run(examine, config)
    errors = [one for one in found if one.level is Level.ERROR]
    looks = sum(one.level is Level.WARNING for one in found)
    table = output.table("", "check", "what was found", "what to do")
    for one in found:
        table.add_row(_SIGNS[one.level], one.check, output.plain(one.said), one.todo)
    summary = f"{len(errors)} wrong, {looks} worth a look, {len(found)} looked at."
    data = {"ok": not errors, "findings": found}
    output.show(as_json, data, table, Text(summary, style="bold"))
    if errors:
        raise typer.Exit(errors[0].exit_code)
