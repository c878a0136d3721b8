"""Looking at grants and ending them: status, list, history, rotate, revoke, settle."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
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
    ReasonText,
    Subject,
    Ticket,
)
from grantledger.adapters.cli.running import known_grant, on_record, with_broker
from grantledger.adapters.cli.times import time_of
from grantledger.domain.audit_access import AuditUse
from grantledger.domain.errors import InvalidRequest, NotProvisioned
from grantledger.domain.fleet import AsOf, GrantFilter, Learned, check_text
from grantledger.domain.requests import RevocationReceipt
from grantledger.domain.user_grant import UserGrant
from grantledger.domain.values import (
    GrantKey,
    RevocationReason,
)
from grantledger.projections.audit_trail import HistoryLine, history_lines

MAX_TEXT_LENGTH = 500


def status(
    provider: ProviderName,
    subject: Subject,
    label: Label = DEFAULT_LABEL,
    at: Annotated[
        str | None, typer.Option(help="As it was then, RFC 3339.", show_default=False)
    ] = None,
    version: Annotated[
        int | None, typer.Option(help="As it was then.", show_default=False)
    ] = None,
    position: Annotated[
        int | None,
        typer.Option(help="As it was with this leaf the newest.", show_default=False),
    ] = None,
    config: Config = None,
    *,
    as_json: Json = False,
) -> None:
    """Show one grant as it stands, or as it was: what was recorded by then."""
    if sum(one is not None for one in (at, version, position)) > 1:
        raise InvalidRequest("say one of --at, --version and --position", "at")
    key = GrantKey(provider, subject, label)
    then = time_of(at, "at")

    async def work(
        opened: OpenBroker,
    ) -> tuple[AsOf | UserGrant, Sequence[Learned]]:
        grant = await known_grant(opened, key)
        if then is None and version is None and position is None:
            return grant, ()
        asked = _asked(then, version, position)
        await on_record(opened, AuditUse.AS_OF, asked, grant.id)
        found = await opened.ledger.as_of(
            grant.id, at=then, version=version, position=position
        )
        if found is None:
            raise NotProvisioned(f"grant {grant.id} was not there, or not so, then")
        if then is None:
            return found, ()
        return found, await opened.ledger.learned_later(grant.id, then)

    found, later = with_broker(config, work, tend=False)
    if isinstance(found, UserGrant):
        output.show(as_json, views.grant_data(found), views.grant_view(found))
        return
    data = views.grant_data(found.grant) | {
        "as_of": {"log_size": found.log_size, "leaf": found.leaf_index},
        "learned_later": later,
    }
    words = (
        f"As it was with leaf {found.leaf_index}, when the log had {found.log_size}."
    )
    view = views.grant_view(found.grant)
    notes = [Text(words, style="dim"), *(_learned(one) for one in later)]
    output.show(as_json, data, view, *notes)


def _learned(one: Learned) -> Text:
    return Text(
        f"Learned later: {one.event} of {output.utc(one.happened_at)}, recorded"
        f" {output.utc(one.recorded_at)} as leaf {one.leaf_index}."
    )


def _asked(at: datetime | None, version: int | None, position: int | None) -> str:
    """Return which point was asked for, in words."""
    if at is not None:
        return f"at {at.isoformat()}"
    return f"version {version}" if version is not None else f"leaf {position}"


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
    until: Annotated[
        str | None,
        typer.Option(help="What was recorded by then, RFC 3339.", show_default=False),
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
    then = time_of(until, "until")

    async def work(opened: OpenBroker) -> tuple[UserGrant, list[HistoryLine]]:
        if key is not None:
            grant = await known_grant(opened, key)
        else:
            found = await opened.ledger.get(grant_id) if grant_id else None
            if found is None:
                raise NotProvisioned(f"there is no grant {grant_id}")
            grant = found
        ledger = opened.ledger
        # This reading is no part of what it reads.
        size = (await ledger.log()).tree.size
        if then is not None:
            size = min(size, await ledger.size_at(then))
        await on_record(opened, AuditUse.HISTORY, "history", grant.id)
        return grant, await ledger.over_history(grant.id, history_lines, size)

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
    reason_text: ReasonText = None,
    ticket: Ticket = None,
    config: Config = None,
    *,
    as_json: Json = False,
) -> None:
    """End a grant: here at once, and at the server until it confirms."""
    check_texts(reason_text, ticket)
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


def check_texts(reason_text: str | None, ticket: str | None) -> None:
    """Refuse words that are out of bounds.

    Raises:
        InvalidRequest: names the field and its limit.
    """
    for name, text in (("reason_text", reason_text), ("ticket", ticket)):
        check_text(name, text, MAX_TEXT_LENGTH)


def settle(config: Config = None, *, as_json: Json = False) -> None:
    """Try what is due now: lost answers, lost leases, revocations at servers."""

    async def work(opened: OpenBroker) -> tuple[int, list[UserGrant]]:
        due = await opened.broker.tend()
        grants = opened.ledger.each(GrantFilter())
        return due, [g async for g in grants if g.state.open_obligations()]

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
