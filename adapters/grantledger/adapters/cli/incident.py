"""`grantledger incident revoke`: end what a leak or a bad client has touched."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated
from uuid import UUID

import typer
from rich.console import RenderableType
from rich.text import Text

from grantledger.adapters.bootstrap import OpenBroker
from grantledger.adapters.cli import output, views
from grantledger.adapters.cli.grants import check_texts
from grantledger.adapters.cli.identity import local_caller
from grantledger.adapters.cli.options import Config, Json, ReasonText, Ticket
from grantledger.adapters.cli.running import with_broker
from grantledger.adapters.cli.secrets_in import read_secret
from grantledger.adapters.cli.times import time_of
from grantledger.domain.bulk import Affected, BulkReceipt, Selection, Totals
from grantledger.domain.values import AccessToken, RevocationReason, TokenFingerprint

app = typer.Typer(help="What to do in an incident.", no_args_is_help=True)
FAILED = 1
"""Exit code where a grant could not be ended; the others are."""

Line = Affected | BulkReceipt


@app.command("revoke")
def revoke(
    *,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Only show what it would do.")
    ] = False,
    provider: Annotated[
        str | None, typer.Option(help="Grants at this one.", show_default=False)
    ] = None,
    client_id: Annotated[
        str | None, typer.Option(help="Grants of this client.", show_default=False)
    ] = None,
    scope: Annotated[
        str | None,
        typer.Option(help="Grants whose consent has this one.", show_default=False),
    ] = None,
    label: Annotated[
        str | None, typer.Option(help="Grants with this label.", show_default=False)
    ] = None,
    caller: Annotated[
        str | None,
        typer.Option(
            help="Grants of which this caller was handed a token.", show_default=False
        ),
    ] = None,
    since: Annotated[
        str | None,
        typer.Option(
            "--from",
            help="Grants consented to, used or handed out from then on.",
            show_default=False,
        ),
    ] = None,
    until: Annotated[
        str | None, typer.Option(help="Likewise, before then.", show_default=False)
    ] = None,
    fingerprint: Annotated[
        str | None,
        typer.Option(help="The grant of this token's fingerprint.", show_default=False),
    ] = None,
    token_stdin: Annotated[
        bool,
        typer.Option("--token-stdin", help="The grant of the token on standard input."),
    ] = False,
    grant_ids: Annotated[
        list[UUID] | None,
        typer.Option("--grant", help="This grant; repeatable.", show_default=False),
    ] = None,
    reason: Annotated[
        RevocationReason, typer.Option(help="Why, as one word.")
    ] = RevocationReason.INCIDENT,
    reason_text: ReasonText = None,
    ticket: Ticket = None,
    config: Config = None,
    as_json: Json = False,
) -> None:
    """End every grant that fits all that is said; run it again to go on.

    Grants end here at once. Workers ask the servers, or `grantledger settle` does.
    """
    check_texts(reason_text, ticket)
    # A leaked token does not say of which kind it is: both are looked for.
    token = AccessToken(read_secret("Token", "token")) if token_stdin else None
    selection = Selection(
        provider=provider,
        client_id=client_id,
        scope=scope,
        label=label,
        caller=caller,
        since=time_of(since, "from"),
        until=time_of(until, "until"),
        fingerprint=TokenFingerprint(fingerprint) if fingerprint else None,
        token=token,
        grant_ids=tuple(grant_ids or ()),
    )

    async def work(opened: OpenBroker) -> list[Line]:
        if provider is not None:
            opened.broker.env.provider(provider)
        if selection.by_token:
            await opened.ledger.complete_tokens()
        bulk = opened.broker.bulk
        if dry_run:
            looked = bulk.preview(local_caller(), selection, local=True)
            return [line async for line in looked]
        ended = bulk.revoke_all(
            local_caller(),
            selection,
            reason=reason,
            reason_text=reason_text,
            ticket=ticket,
            local=True,
        )
        return [line async for line in ended]

    lines = with_broker(config, work, tend=False)
    totals = Totals()
    for line in lines:
        totals.add(line)
    data = {
        "dry_run": dry_run,
        "grants": [_data(line) for line in lines],
        "totals": {
            "grants": totals.grants,
            "ends": totals.ends,
            "failed": totals.failed,
            "owed": totals.owed,
            "live": totals.live,
            "callers": totals.callers,
        },
    }
    output.show(as_json, data, *_view(lines, totals, dry_run=dry_run))
    if totals.failed and not dry_run:
        raise typer.Exit(FAILED)


def _word(line: Line) -> str:
    if isinstance(line, BulkReceipt):
        return str(line.outcome)
    if line.error is not None:
        return "cannot"
    return "would_end" if line.ends else "already"


def _data(line: Line) -> dict[str, object]:
    state = line.grant
    return {
        "grant_id": state.grant_id,
        "provider": state.provider,
        "subject": state.subject,
        "label": state.label,
        "status": state.status,
        "outcome": _word(line),
        "owed": line.owed,
        "live": [views.hand_out_data(one) for one in line.live],
        "error": line.error and line.error.code,
        "message": line.error and str(line.error),
    }


def _view(
    lines: Sequence[Line], totals: Totals, *, dry_run: bool
) -> list[RenderableType]:
    if not lines:
        return [Text("No grant fits.")]
    table = output.table(
        "provider", "subject", "label", "outcome", "live tokens", "callers", "owed"
    )
    for line in lines:
        state = line.grant
        words = _word(line).replace("_", " ")
        if line.error is not None:
            words = f"{words}: {output.plain(str(line.error))}"
        table.add_row(
            Text(state.provider),
            Text(state.subject),
            Text(state.label),
            Text(words, style="" if line.error is None else "red"),
            str(sum(one.count for one in line.live)),
            Text(" ".join(sorted({one.caller for one in line.live}))),
            str(line.owed),
        )
    verb = "would end" if dry_run else "ended now"
    said = (
        f"{totals.grants} grants: {totals.ends} {verb}, {totals.failed} failed; "
        f"{totals.live} tokens live on at most, {totals.owed} revocations are owed."
    )
    return [table, Text(said, style="bold")]
