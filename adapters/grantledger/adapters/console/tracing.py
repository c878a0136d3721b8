"""Trace a token: what it came from and led to, who holds it, and what its end breaks.

The token comes in a form, is never shown again, and is kept nowhere.
"""

from __future__ import annotations

from collections.abc import Sequence

from markupsafe import Markup
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

from grantledger.adapters.bootstrap.tracing import Asked, trace_token
from grantledger.adapters.console.asking import number_of, said, time_of, uuid_of
from grantledger.adapters.console.visitors import ROOT, Console, Visit, visited
from grantledger.domain.bulk import Affected, BulkReceipt, Selection
from grantledger.domain.errors import Denied, InvalidRequest
from grantledger.domain.grant_state import GrantState
from grantledger.domain.policy import Operation
from grantledger.domain.values import Secret, TokenFingerprint
from grantledger.projections.token_graph import token_graph
from grantledger.projections.trace import GrantTrace

TRACE, REVOKE = f"{ROOT}/trace", f"{ROOT}/revoke"
MAX_TOKENS = 200
"""Rows of a table of tokens or holders; of more, what may live, then the newest."""


def routes(console: Console) -> Sequence[BaseRoute]:
    """Return the routes."""
    return [
        Route(TRACE, visited(console, ask), methods=["GET"]),
        Route(TRACE, visited(console, found), methods=["POST"]),
        Route(REVOKE, visited(console, revoke), methods=["POST"]),
    ]


async def ask(visit: Visit) -> Response:
    """Answer `GET /console/trace`: what to look for."""
    await visit.must(Operation.TRACE)
    return visit.page("trace.html", "Trace", asked=False, grants=())


async def found(visit: Visit) -> Response:
    """Answer `POST /console/trace`: what was found."""
    form = await visit.form()
    await visit.must(Operation.TRACE)
    token, mark = said(form, "token"), said(form, "fingerprint")
    asked = Asked(
        token=None if token is None else Secret(token),
        fingerprint=None if mark is None else TokenFingerprint(mark),
        jti=said(form, "jti"),
        grant_id=uuid_of(said(form, "grant"), "grant"),
        since=time_of(said(form, "since"), "since"),
        near=number_of(said(form, "near"), "near"),
    )

    def may(state: GrantState) -> bool:
        return visit.may(Operation.TRACE, state.provider, state.subject)

    opened = visit.console.opened
    traced = await trace_token(opened, visit.caller, asked, may)
    return visit.page(
        "trace.html",
        "Trace",
        asked=True,
        found_by=traced.found_by,
        grants=[await _shown(visit, one) for one in traced.grants],
    )


async def _shown(visit: Visit, one: GrantTrace) -> dict[str, object]:
    """Return a grant's trace for the page, with a dry run of its end."""
    graph = token_graph(one)
    state = one.grant
    dry: list[Affected] = []
    if visit.may(Operation.BULK_PREVIEW, state.provider, state.subject):
        bulk = visit.console.opened.broker.bulk
        selection = Selection(grant_ids=(state.grant_id,))
        dry = [
            line
            async for line in bulk.preview(
                visit.caller, selection, local=visit.session.local
            )
        ]
    tokens = sorted(
        [*one.traced, *one.ancestors, *one.descendants],
        key=lambda token: (token.may_live, token.token.id),
    )
    listed = sorted(tokens[-MAX_TOKENS:], key=lambda token: token.token.id)
    holders = sorted(one.holders, key=lambda holder: holder.last_at)[-MAX_TOKENS:]
    return {
        "trace": one,
        "tokens": listed,
        "left_out": len(tokens) - len(listed),
        "holders": holders,
        "holders_left_out": len(one.holders) - len(holders),
        # Made by us, of numbers and of our own words.
        "picture": Markup(graph.svg),  # noqa: S704 - see above
        "undrawn": graph.left_out,
        "dry": dry,
        "may_revoke": visit.console.opened.ledger.appends
        and visit.may(Operation.BULK_REVOKE, state.provider, state.subject),
    }


async def revoke(visit: Visit) -> Response:
    """Answer `POST /console/revoke`: end one grant, with reason and ticket."""
    form = await visit.form()
    grant_id = uuid_of(said(form, "grant"), "grant")
    reason = said(form, "reason")
    if grant_id is None or reason is None:
        missing = "grant" if grant_id is None else "reason"
        raise InvalidRequest(f"{missing} is empty", missing)
    if form.get("sure") != "yes":
        raise InvalidRequest("say that you are sure: this cannot be undone", "sure")
    if not visit.console.opened.ledger.appends:
        raise Denied("this login may only read the ledger", "read_only")
    await visit.must(Operation.BULK_REVOKE)
    receipts: list[BulkReceipt] = [
        receipt
        async for receipt in visit.console.opened.broker.bulk.revoke_all(
            visit.caller,
            Selection(grant_ids=(grant_id,)),
            reason_text=reason,
            ticket=said(form, "ticket"),
            local=visit.session.local,
        )
    ]
    return visit.page("revoked.html", "Revocation", receipts=receipts)
