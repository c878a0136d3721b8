"""`grantledger diff`: what changed between two points of the log."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated
from uuid import UUID

import typer
from rich.console import RenderableType
from rich.text import Text

from grantledger.adapters.bootstrap import OpenBroker
from grantledger.adapters.cli import output
from grantledger.adapters.cli.identity import local_caller
from grantledger.adapters.cli.options import Config, Json
from grantledger.adapters.cli.points import NOW, size_of
from grantledger.adapters.cli.running import with_broker
from grantledger.adapters.cli.views import grant_name
from grantledger.adapters.http.shown_diff import change_data
from grantledger.adapters.ledger.stored_ledger import StoredLedger
from grantledger.domain.audit_access import AuditUse
from grantledger.domain.errors import InvalidRequest, NotProvisioned
from grantledger.domain.fleet import MAX_PAGE, check_limit
from grantledger.projections.differences import Change, Told

MAX_SHOWN = 10_000
Found = tuple[tuple[int, int], list[Change], UUID | None]


def diff(
    begin: Annotated[
        str, typer.Argument(metavar="A", help="RFC 3339, a leaf's index, or `now`.")
    ],
    end: Annotated[str, typer.Argument(metavar="B", help="Likewise, later.")] = NOW,
    grant_id: Annotated[
        UUID | None, typer.Option("--grant", help="Only this one.", show_default=False)
    ] = None,
    provider: Annotated[
        str | None, typer.Option(help="Only this one's grants.", show_default=False)
    ] = None,
    limit: Annotated[int, typer.Option(help="So many grants at most.")] = 1000,
    after: Annotated[
        UUID | None,
        typer.Option(help="Go on behind the grant of this id.", show_default=False),
    ] = None,
    config: Config = None,
    *,
    as_json: Json = False,
) -> None:
    """Show which grants changed between A and B, and what of them."""
    check_limit(limit, MAX_SHOWN)

    async def work(opened: OpenBroker) -> Found:
        ledger = opened.ledger
        sizes = (await size_of(ledger, begin, "A"), await size_of(ledger, end, "B"))
        if sizes[1] < sizes[0]:
            raise InvalidRequest("B lies before A", "B")
        if grant_id is not None and await ledger.get(grant_id) is None:
            raise NotProvisioned(f"there is no grant {grant_id}")
        await opened.broker.audit_access.record(
            local_caller(),
            AuditUse.DIFF,
            f"leaves {sizes[0]} to {sizes[1]}",
            grant_id=grant_id,
        )
        if grant_id is None:
            return sizes, *await _changes(ledger, sizes, provider, after, limit)
        one = await ledger.change(grant_id, sizes)
        return sizes, [] if one is None else [one], None

    sizes, changes, place = with_broker(config, work, tend=False)
    data = {
        "from_size": sizes[0],
        "to_size": sizes[1],
        "changes": [change_data(one) for one in changes],
        "after": place,
    }
    views: list[RenderableType] = []
    for one in changes:
        views += _view(one)
    if not changes:
        views.append(Text("Nothing changed."))
    if place is not None:
        views.append(Text(f"There may be more: --after {place}"))
    output.show(as_json, data, *views)


async def _changes(
    ledger: StoredLedger,
    sizes: tuple[int, int],
    provider: str | None,
    after: UUID | None,
    limit: int,
) -> tuple[list[Change], UUID | None]:
    """Return so many changes at most, and where to go on."""
    found: list[Change] = []
    while True:
        left = min(MAX_PAGE, limit - len(found))
        some, after = await ledger.changes(
            sizes, provider=provider, after=after, limit=left
        )
        found += some
        if after is None or len(found) == limit:
            return found, after


def _view(one: Change) -> list[RenderableType]:
    version = one.before.grant.version if one.before else 0
    title = (
        f"{grant_name(one.after.state)}: version {version} to"
        f" {one.after.grant.version}, {one.grant_id}"
    )
    table = output.table("what", "before", "after")
    for said in one.differences:
        table.add_row(
            Text(output.plain(said.field)),
            Text(_told(said.before), style="red"),
            Text(_told(said.after), style="green"),
        )
    return [Text(output.plain(title), style="bold"), table]


def _told(value: Told) -> str:
    if isinstance(value, datetime):
        return output.utc(value)
    if isinstance(value, tuple):
        return output.plain(" ".join(value))
    return "-" if value is None else output.plain(str(value))
