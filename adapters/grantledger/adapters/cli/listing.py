"""`grantledger list`: the grants that fit, a bounded number of them at a time."""

from __future__ import annotations

from typing import Annotated
from uuid import UUID

import typer
from rich.text import Text

from grantledger.adapters.bootstrap import OpenBroker
from grantledger.adapters.cli import output, views
from grantledger.adapters.cli.options import Config, Json
from grantledger.adapters.cli.running import with_broker
from grantledger.adapters.cli.times import time_of
from grantledger.domain.errors import InvalidRequest
from grantledger.domain.fleet import MAX_PAGE, GrantFilter, GrantPage
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
    config: Config = None,
    *,
    as_json: Json = False,
) -> None:
    """Show grants, by id in portions; in each, what changed last is at the end."""
    if not 1 <= limit <= MAX_SHOWN:
        raise InvalidRequest(
            f"limit is {limit}; the limit is 1 to {MAX_SHOWN}", "limit"
        )
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

    async def work(opened: OpenBroker) -> GrantPage:
        if provider is not None:
            opened.broker.env.provider(provider)
        found: list[UserGrant] = []
        begin = after
        while True:
            left = min(MAX_PAGE, limit - len(found))
            page = await opened.ledger.page(wanted, after=begin, limit=left)
            found += page.grants
            begin = page.after
            if begin is None or len(found) == limit:
                return GrantPage(found, begin)

    page = with_broker(config, work, tend=False)
    grants = sorted(page.grants, key=lambda grant: grant.modified_on)
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
    data = {
        "grants": [views.grant_data(grant) for grant in grants],
        "after": page.after,
    }
    more = (
        [] if page.after is None else [Text(f"There may be more: --after {page.after}")]
    )
    output.show(as_json, data, table if grants else Text("No grants."), *more)
