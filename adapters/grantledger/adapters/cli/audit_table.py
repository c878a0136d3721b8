"""Rows of the audit trail as a table of 80 to 100 columns, whole or as they come."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date

from rich.console import RenderableType
from rich.table import Table
from rich.text import Text

from grantledger.adapters.cli import output
from grantledger.domain.audit import OF_EVENT, AuditOutcome, AuditRow
from grantledger.domain.values import ERASED_TEXT, ActorKind

STYLES = {
    AuditOutcome.SUCCESS: "bold",
    AuditOutcome.DENIED: "bold red",
    AuditOutcome.FAILED: "bold yellow",
    AuditOutcome.UNKNOWN: "bold magenta",
}


class AuditTable:
    """Takes rows in order; a day is named where it begins."""

    def __init__(self) -> None:
        self._day: date | None = None
        self._table = _empty(headed=True)

    def add(self, row: AuditRow) -> None:
        """Add a row."""
        self._table.add_row(*self._cells(row))

    def whole(self) -> RenderableType:
        """Return the table."""
        return self._table

    def print(self, rows: Sequence[AuditRow]) -> None:
        """Write more rows below those that were written before."""
        if not rows:
            return
        for row in rows:
            self.add(row)
        output.console().print(self._table)
        self._table = _empty(headed=False)

    def _cells(self, row: AuditRow) -> list[RenderableType]:
        at = row.recorded_at
        time = Text(f"{at:%H:%M:%S}")
        time.append(f".{at.microsecond // 1000:03}", style="dim")
        if at.date() != self._day:
            self._day = at.date()
            time = Text(f"{at:%Y-%m-%d}\n", style="dim").append_text(time)
        event = Text(row.event, style=STYLES[row.outcome])
        if row.outcome is not AuditOutcome.SUCCESS:
            event.append(f" {row.outcome}", style="default")
        event.append(f"\n{output.plain(row.what)}", style="not bold default")
        number = "" if row.at.entry == OF_EVENT else f".{row.at.entry}"
        mark = output.short(row.mark.fingerprint) if row.mark else ""
        return [
            Text(f"{row.at.leaf_index}{number}"),
            time,
            event,
            Text(output.plain(_whose(row))),
            Text(output.plain(_who(row))),
            Text(mark, style="magenta"),
        ]


def _empty(*, headed: bool) -> Table:
    made = Table(
        box=None,
        padding=(0, 1, 0, 0),
        header_style="bold underline",
        pad_edge=False,
        show_header=headed,
        expand=True,
    )
    made.add_column("#", justify="right", style="dim", no_wrap=True, min_width=7)
    made.add_column("recorded (UTC)", no_wrap=True, min_width=14)
    made.add_column("event", ratio=1, overflow="fold")
    made.add_column("whose", overflow="fold", min_width=14, max_width=14)
    made.add_column("who", overflow="fold", min_width=16, max_width=16)
    made.add_column("token", no_wrap=True, min_width=8)
    return made


def _whose(row: AuditRow) -> str:
    if row.grant_id is None and row.subject is None:
        return row.provider
    return f"{row.subject or ERASED_TEXT}\nat {row.provider}"


def _who(row: AuditRow) -> str:
    if row.actor_kind is ActorKind.SYSTEM:
        return "the broker"
    name = row.caller or (row.actor.id if row.actor else ERASED_TEXT)
    lines = [name]
    if row.actor is not None:
        lines += [f"for {other}" for other in row.actor.act_chain]
        if row.actor.peer_ip is not None:
            lines.append(row.actor.peer_ip)
    return "\n".join(lines)
