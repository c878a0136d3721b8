"""`grantledger hold`: what may not be destroyed for now."""

from __future__ import annotations

from typing import Annotated
from uuid import UUID

import typer
from rich.text import Text

from grantledger.adapters.bootstrap import OpenBroker
from grantledger.adapters.cli import output
from grantledger.adapters.cli.identity import local_caller
from grantledger.adapters.cli.options import Config, Json, Ticket
from grantledger.adapters.cli.running import with_broker
from grantledger.adapters.http.shown import hold_data
from grantledger.domain.errors import InvalidRequest
from grantledger.domain.legal_hold import LegalHold
from grantledger.domain.values import HoldScope

app = typer.Typer(
    help="Legal hold: what is neither erased nor pruned.", no_args_is_help=True
)
Reason = Annotated[
    str, typer.Option("--reason", help="Why; stored sealed.", show_default=False)
]


@app.command("set")
def set_hold(
    reason: Reason,
    grant: Annotated[
        UUID | None, typer.Option(help="One grant, by its id.", show_default=False)
    ] = None,
    provider: Annotated[
        str | None, typer.Option(help="With --subject.", show_default=False)
    ] = None,
    subject: Annotated[
        str | None,
        typer.Option(
            help="A user: every grant, those to come, too.", show_default=False
        ),
    ] = None,
    ticket: Ticket = None,
    *,
    everything: Annotated[
        bool, typer.Option("--everything", help="Every grant and the whole journal.")
    ] = False,
    config: Config = None,
    as_json: Json = False,
) -> None:
    """Put a hold on a grant, on a user, or on everything."""
    if (provider is None) != (subject is None):
        raise InvalidRequest("a user is --provider and --subject", "subject")
    user = (provider, subject) if provider and subject else None

    async def work(opened: OpenBroker) -> LegalHold:
        return await opened.broker.holding.hold(
            local_caller(),
            grant_id=grant,
            user=user,
            everything=everything,
            reason=reason,
            ticket=ticket,
        )

    hold = with_broker(config, work, tend=False)
    words = f"hold {hold.id} is in force: {_covered(hold)}."
    output.show(as_json, hold_data(hold), Text(words))


@app.command()
def release(
    hold_id: Annotated[
        UUID, typer.Argument(metavar="HOLD", help="As `list` shows it.")
    ],
    reason: Reason,
    ticket: Ticket = None,
    *,
    config: Config = None,
    as_json: Json = False,
) -> None:
    """End a hold; what it kept from being destroyed is finished by `erase --resume`."""

    async def work(opened: OpenBroker) -> LegalHold:
        return await opened.broker.holding.release(
            local_caller(), hold_id, reason=reason, ticket=ticket
        )

    hold = with_broker(config, work, tend=False)
    output.show(
        as_json,
        {"hold_id": hold.id, "released": True},
        Text(f"hold {hold.id} is released: {_covered(hold)}."),
    )


@app.command("list")
def list_holds(config: Config = None, *, as_json: Json = False) -> None:
    """Show the holds in force, oldest first."""
    holds = with_broker(
        config, lambda opened: opened.broker.holding.in_force(), tend=False
    )
    table = output.table("hold", "since", "covers", "by", "reason", "ticket")
    for hold in holds:
        table.add_row(
            str(hold.id),
            output.utc(hold.set_at),
            output.plain(_covered(hold)),
            output.plain(hold.by.id),
            output.plain(hold.reason),
            output.plain(hold.ticket or "-"),
        )
    people = table if holds else Text("Nothing is under legal hold.")
    output.show(as_json, {"holds": [hold_data(hold) for hold in holds]}, people)


def _covered(hold: LegalHold) -> str:
    target = hold.target
    if target.scope is HoldScope.EVERYTHING:
        return "everything"
    if target.scope is HoldScope.SUBJECT:
        return f"a user at {target.provider}, {len(target.grants)} grants"
    return f"grant {target.grants[0]}"
