"""`grantledger list`: the grants that fit, a bounded number of them at a time."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated
from uuid import UUID

import typer
from rich.console import RenderableType
from rich.text import Text

from grantledger.adapters.bootstrap import OpenBroker
from grantledger.adapters.cli import output, views
from grantledger.adapters.cli.identity import local_caller
from grantledger.adapters.cli.options import Config, Json
from grantledger.adapters.cli.points import size_of
from grantledger.adapters.cli.running import with_broker
from grantledger.adapters.cli.times import time_of
from grantledger.domain.audit_access import AuditUse
from grantledger.domain.errors import InvalidRequest
from grantledger.domain.fleet import MAX_PAGE, GrantFilter, GrantPage, check_limit
from grantledger.domain.user_grant import UserGrant
from grantledger.domain.values import ERASED_TEXT, GrantStatus

MAX_SHOWN = 10_000


def list_grants(
    provider: Annotated[
        str | None, typer.Option(help="Only this provider's.", show_default=False)
    ] = None,
    status: Annotated[
        GrantStatus | None, typer.Option(help="Only these.", show_default=False)
    ] = None,
    subject: Annotated[
        str | None,
        typer.Option(help="Only this user's; needs --provider.", show_default=False),
    ] = None,
    label: Annotated[
        str | None, typer.Option(help="Only with this label.", show_default=False)
    ] = None,
    client_id: Annotated[
        str | None, typer.Option(help="Only of this client.", show_default=False)
    ] = None,
    scope: Annotated[
        str | None,
        typer.Option(help="Only where consent has this one.", show_default=False),
    ] = None,
    changed_from: Annotated[
        str | None,
        typer.Option(help="Only with a last change from then on.", show_default=False),
    ] = None,
    changed_until: Annotated[
        str | None,
        typer.Option(help="Only with a last change before then.", show_default=False),
    ] = None,
    limit: Annotated[int, typer.Option(help="So many at most.")] = 1000,
    after: Annotated[
        UUID | None,
        typer.Option(help="Go on behind the grant of this id.", show_default=False),
    ] = None,
    at: Annotated[
        str | None,
        typer.Option(
            help="As they were: what was recorded by then, RFC 3339.",
            show_default=False,
        ),
    ] = None,
    at_leaf: Annotated[
        int | None,
        typer.Option(
            help="As they were with this leaf the newest.", show_default=False
        ),
    ] = None,
    config: Config = None,
    *,
    as_json: Json = False,
) -> None:
    """Show grants, by id in portions; in each, what changed last is at the end."""
    if at is not None and at_leaf is not None:
        raise InvalidRequest("say --at or --at-leaf, and not both", "at")
    if at_leaf is not None and at_leaf < 0:
        raise InvalidRequest("at_leaf is a leaf's index, from 0 on", "at_leaf")
    point = at if at_leaf is None else str(at_leaf)
    check_limit(limit, MAX_SHOWN)
    wanted = GrantFilter(
        provider=provider,
        status=status,
        subject=subject,
        label=label,
        client_id=client_id,
        scope=scope,
        modified_from=time_of(changed_from, "changed_from"),
        modified_until=time_of(changed_until, "changed_until"),
    )

    async def work(opened: OpenBroker) -> tuple[GrantPage, int | None]:
        if provider is not None:
            opened.broker.env.provider(provider)
        size = None if point is None else await _size(opened, point)
        return await _pages(opened, wanted, size, after, limit), size

    page, size = with_broker(config, work, tend=False)
    grants = sorted(page.grants, key=lambda grant: grant.modified_on)
    data: dict[str, object] = {
        "grants": [views.grant_data(grant) for grant in grants],
        "after": page.after,
    }
    if size is not None:
        data["log_size"] = size
    more = (
        [] if page.after is None else [Text(f"There may be more: --after {page.after}")]
    )
    output.show(as_json, data, _table(grants) if grants else Text("No grants."), *more)


async def _size(opened: OpenBroker, point: str) -> int:
    """Return how many leaves there were then; that it is asked is on the record."""
    size = await size_of(opened.ledger, point, "at")
    said = f"every grant when there were {size} leaves"
    await opened.broker.audit_access.record(local_caller(), AuditUse.AS_OF, said)
    return size


async def _pages(
    opened: OpenBroker,
    wanted: GrantFilter,
    size: int | None,
    after: UUID | None,
    limit: int,
) -> GrantPage:
    """Return so many grants at most, as they are or were, and where to go on."""
    found: list[UserGrant] = []
    while True:
        left = min(MAX_PAGE, limit - len(found))
        if size is None:
            page = await opened.ledger.page(wanted, after=after, limit=left)
        else:
            page = await opened.ledger.page_at(wanted, size, after=after, limit=left)
        found += page.grants
        after = page.after
        if after is None or len(found) == limit:
            return GrantPage(found, after)


def _table(grants: Sequence[UserGrant]) -> RenderableType:
    table = output.table(
        "provider", "subject", "label", "status", "consents", "events", "last change"
    )
    for grant in grants:
        state = grant.state
        table.add_row(
            Text(state.provider),
            Text(state.subject or ERASED_TEXT),
            Text(state.label),
            Text(state.status, style=views.STYLES[state.status]),
            str(state.generation),
            str(grant.version),
            output.utc(grant.modified_on),
        )
    return table
