"""A grant's history as a table that reads from top to bottom in 80 to 100 columns."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from grantledger.adapters.cli.output import plain
from grantledger.domain.values import ActorKind
from grantledger.projections.audit_trail import HistoryLine

_STYLES = {
    "Provisioned": "bold green",
    "Rotated": "cyan",
    "Exchanged": "cyan",
    "HandedOut": "green",
    "Denied": "bold red",
    "Withheld": "red",
    "DenialsSuppressed": "red",
    "ExchangeFailed": "yellow",
    "RedemptionFailed": "yellow",
    "ReauthorizationRequired": "bold yellow",
    "Revoked": "bold red",
    "UpstreamRevocationFailed": "yellow",
    "UpstreamRevocationAbandoned": "yellow",
    "Erased": "bold red",
}
LEGEND = "R refresh token, A access token, each by the first digits of its fingerprint."


def history_table(lines: Sequence[HistoryLine]) -> RenderableType:
    """Return the table: event, time, actor, scopes, fingerprint, and what it means."""
    table = Table(
        box=None,
        padding=(0, 1, 0, 0),
        header_style="bold underline",
        pad_edge=False,
    )
    table.add_column("#", justify="right", style="dim", no_wrap=True)
    table.add_column("time (UTC)", no_wrap=True)
    table.add_column("event", ratio=1, overflow="fold")
    table.add_column("who", overflow="fold", max_width=15)
    table.add_column("scopes", overflow="fold", max_width=15)
    table.add_column("token", no_wrap=True)
    table.expand = True
    day: date | None = None
    for line in lines:
        table.add_row(*_cells(line, day))
        day = line.at.date()
    return Group(table, Text(LEGEND, style="dim"))


def _cells(line: HistoryLine, day: date | None) -> list[RenderableType]:
    time = Text(f"{line.at:%H:%M:%S}")
    time.append(f".{line.at.microsecond // 1000:03}", style="dim")
    if line.at.date() != day:
        time = Text(f"{line.at:%Y-%m-%d}\n", style="dim").append_text(time)
    event = Text(line.event, style=_STYLES.get(line.event, "bold"))
    event.append(f"\n{plain(line.what)}", style="not bold default")
    return [
        Text(str(line.leaf)),
        time,
        event,
        Text(plain(_who(line))),
        Text(" ".join(line.scopes)),
        Text(line.token.short if line.token else "", style="magenta"),
    ]


def _who(line: HistoryLine) -> str:
    name = "the broker" if line.actor_kind is ActorKind.SYSTEM else line.actor
    return "\n".join([name, *(f"for {other}" for other in line.acting_for)])
