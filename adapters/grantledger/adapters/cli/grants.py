"""Looking at grants and ending them: status, list, history, rotate, revoke, settle."""

from __future__ import annotations

from typing import Annotated
from uuid import UUID

import typer
from rich.text import Text

from grantledger.adapters.bootstrap import OpenBroker
from grantledger.adapters.cli import output, views
from grantledger.adapters.cli.history_table import history_table
from grantledger.adapters.cli.identity import local_caller
from grantledger.adapters.cli.options import (
    DEFAULT_LABEL,
    Config,
    Json,
    Label,
    ProviderName,
    Subject,
)
from grantledger.adapters.cli.running import known_grant, with_broker
from grantledger.domain.errors import InvalidRequest, NotProvisioned
from grantledger.domain.requests import RevocationReceipt
from grantledger.domain.user_grant import UserGrant
from grantledger.domain.values import (
    ERASED_TEXT,
    GrantKey,
    GrantStatus,
    RevocationReason,
)
from grantledger.projections.audit_trail import HistoryLine, history_lines

MAX_TEXT_LENGTH = 500


def status(
    provider: ProviderName,
    subject: Subject,
    label: Label = DEFAULT_LABEL,
    config: Config = None,
    *,
    as_json: Json = False,
) -> None:
    """Show one grant as it stands."""
    key = GrantKey(provider, subject, label)
    grant = with_broker(config, lambda opened: known_grant(opened, key), tend=False)
    output.show(as_json, views.grant_data(grant), views.grant_view(grant))


def list_grants(
    provider: Annotated[
        str | None, typer.Option(help="Only this provider's.", show_default=False)
    ] = None,
    status: Annotated[
        GrantStatus | None, typer.Option(help="Only these.", show_default=False)
    ] = None,
    config: Config = None,
    *,
    as_json: Json = False,
) -> None:
    """Show all grants, the one that changed last at the end."""

    async def work(opened: OpenBroker) -> list[UserGrant]:
        if provider is not None:
            opened.broker.env.provider(provider)
        grants = await opened.ledger.grants(provider)
        chosen = [g for g in grants if status is None or g.state.status is status]
        return sorted(chosen, key=lambda grant: grant.modified_on)

    grants = with_broker(config, work, tend=False)
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
    data = {"grants": [views.grant_data(grant) for grant in grants]}
    output.show(as_json, data, table if grants else Text("No grants."))


def history(
    provider: Annotated[
        str | None, typer.Argument(metavar="PROVIDER", show_default=False)
    ] = None,
    subject: Annotated[
        str | None, typer.Argument(metavar="SUBJECT", show_default=False)
    ] = None,
    label: Label = DEFAULT_LABEL,
    grant_id: Annotated[
        UUID | None,
        typer.Option(
            "--grant", help="By its id, such as of an erased one.", show_default=False
        ),
    ] = None,
    config: Config = None,
    *,
    as_json: Json = False,
) -> None:
    """Tell what happened to a grant, hand-outs and refusals included."""
    key = None
    if provider is not None and subject is not None:
        key = GrantKey(provider, subject, label)
    if (key is None) == (grant_id is None) or (grant_id and provider is not None):
        raise InvalidRequest("name PROVIDER and SUBJECT, or --grant", "subject")

    async def work(opened: OpenBroker) -> tuple[UserGrant, list[HistoryLine]]:
        if key is not None:
            grant = await known_grant(opened, key)
        else:
            found = await opened.ledger.get(grant_id) if grant_id else None
            if found is None:
                raise NotProvisioned(f"there is no grant {grant_id}")
            grant = found
        return grant, history_lines(await opened.ledger.history(grant.id))

    grant, lines = with_broker(config, work, tend=False)
    data = {"grant_id": grant.id, "status": grant.state.status, "history": lines}
    output.show(as_json, data, history_table(lines))


def rotate(
    provider: ProviderName,
    subject: Subject,
    label: Label = DEFAULT_LABEL,
    config: Config = None,
    *,
    as_json: Json = False,
) -> None:
    """Redeem the refresh token now, and store its successor."""
    key = GrantKey(provider, subject, label)
    grant = with_broker(
        config, lambda opened: opened.broker.rotate(local_caller(), key)
    )
    output.show(as_json, views.grant_data(grant), views.grant_view(grant))


def revoke(
    provider: ProviderName,
    subject: Subject,
    label: Label = DEFAULT_LABEL,
    reason: Annotated[
        RevocationReason, typer.Option(help="Why, as one word.")
    ] = RevocationReason.OPERATOR,
    reason_text: Annotated[
        str | None, typer.Option(help="Why, in words; stored sealed.")
    ] = None,
    ticket: Annotated[
        str | None, typer.Option(help="Of your own system; stored sealed.")
    ] = None,
    config: Config = None,
    *,
    as_json: Json = False,
) -> None:
    """End a grant: here at once, and at the server until it confirms."""
    for name, text in (("reason_text", reason_text), ("ticket", ticket)):
        if text is not None and not 0 < len(text) <= MAX_TEXT_LENGTH:
            raise InvalidRequest(
                f"{name} has {len(text)} characters; the limit is 1 to "
                f"{MAX_TEXT_LENGTH}",
                name,
            )
    key = GrantKey(provider, subject, label)

    async def work(opened: OpenBroker) -> RevocationReceipt:
        return await opened.broker.revoke(
            local_caller(), key, reason=reason, reason_text=reason_text, ticket=ticket
        )

    receipt = with_broker(config, work)
    data = {
        "grant_id": receipt.grant.grant_id,
        "status": receipt.grant.status,
        "already": receipt.already,
        "revoked_at": receipt.grant.revoked_at,
        "confirmed": receipt.confirmed,
        "obligations": [views.obligation_data(o) for o in receipt.obligations],
        "live": [views.hand_out_data(line) for line in receipt.live],
    }
    output.show(as_json, data, views.receipt_view(receipt))


def settle(config: Config = None, *, as_json: Json = False) -> None:
    """Try what is due now: lost answers, lost leases, revocations at servers."""

    async def work(opened: OpenBroker) -> tuple[int, list[UserGrant]]:
        due = await opened.broker.tend()
        grants = await opened.ledger.grants()
        return due, [g for g in grants if g.state.open_obligations()]

    due, owing = with_broker(config, work, tend=False)
    data = {
        "due": due,
        "open": [
            {
                "grant_id": grant.id,
                "provider": grant.state.provider,
                "subject": grant.state.subject,
                "label": grant.state.label,
                "obligations": [
                    views.obligation_data(o) for o in grant.state.open_obligations()
                ],
            }
            for grant in owing
        ],
    }
    words = f"{due} grants were due; "
    words += (
        f"{len(owing)} still owe their server a revocation."
        if owing
        else ("no server is owed a revocation.")
    )
    output.show(as_json, data, Text(words), *(views.grant_view(g) for g in owing))
