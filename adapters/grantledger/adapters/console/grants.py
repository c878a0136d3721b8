"""The grants: found by what is known of them, a page at a time; and one of them."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from uuid import UUID

from markupsafe import Markup
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

from grantledger.adapters.bootstrap.seeing import seen_page
from grantledger.adapters.console.asking import (
    grants_asked,
    past_of,
    said,
    uuid_of,
    with_fields,
)
from grantledger.adapters.console.exports import fields_of
from grantledger.adapters.console.rows import shown_rows
from grantledger.adapters.console.visitors import ROOT, Console, Visit, visited
from grantledger.adapters.http.shown import grant_data
from grantledger.domain.audit import AuditFilter, AuditRow
from grantledger.domain.audit_access import AuditUse
from grantledger.domain.errors import InvalidRequest, NotProvisioned
from grantledger.domain.fleet import MAX_PAGE
from grantledger.domain.policy import Operation
from grantledger.domain.user_grant import UserGrant
from grantledger.domain.values import ERASED_TEXT, GrantStatus
from grantledger.projections.timeline import Timeline

PAGE_SIZE = 50
MAX_DRAWN = 2_000
MAX_LISTED = 50
"""Rows of a grant that its picture and its table show; the newest of more."""

_TICK = timedelta(microseconds=1)
_STATUS = tuple(str(status) for status in GrantStatus)


def routes(console: Console) -> Sequence[BaseRoute]:
    """Return the routes."""
    return [
        Route(f"{ROOT}/grants", visited(console, grants), methods=["GET"]),
        Route(f"{ROOT}/grants/{{id}}", visited(console, grant), methods=["GET"]),
    ]


async def grants(visit: Visit) -> Response:
    """Answer `GET /console/grants?provider=…&after=…`."""
    query = visit.request.query_params
    wanted = grants_asked(query)
    after = uuid_of(said(query, "after"), "after")
    await visit.must(Operation.LIST)
    await visit.record(AuditUse.READ, f"grants: {fields_of(query)}")
    everything = visit.sees_all(Operation.LIST)

    async def page(after: UUID | None) -> tuple[Sequence[UserGrant], UUID | None]:
        limit = PAGE_SIZE if everything else MAX_PAGE
        found = await visit.console.opened.ledger.page(wanted, after=after, limit=limit)
        return found.grants, found.after

    def may(one: UserGrant) -> bool:
        return visit.may(Operation.LIST, one.state.provider, one.state.subject)

    seen: Sequence[UserGrant]
    if everything:
        seen, place = await page(after)
    else:
        seen, place = await seen_page(page, may, lambda one: one.id, after, PAGE_SIZE)
    following = None if place is None else with_fields(query, after=place)
    return visit.page(
        "grants.html",
        "Grants",
        grants=seen,
        query=query,
        statuses=_STATUS,
        providers=[
            name
            for name in sorted(visit.console.opened.providers)
            if visit.may(Operation.LIST, name)
        ],
        following=following,
        first=None if after is None else with_fields(query, after=None),
        kept=with_fields(query, after=None),
        proven=(
            {"provider": wanted.provider, "subject": wanted.subject}
            if wanted.subject
            else {}
        ),
    )


async def grant(visit: Visit) -> Response:
    """Answer `GET /console/grants/{id}?at=…`: one grant, now or as it was."""
    grant_id = _id(visit.request.path_params["id"])
    query = visit.request.query_params
    ledger, clock = visit.console.opened.ledger, visit.console.opened.clock
    at = past_of(said(query, "at"), "at", clock.now())
    now = await ledger.get(grant_id)
    if now is None:
        # To whom some are hidden, none is told apart from those.
        await visit.must(Operation.HISTORY, "", "")
        raise NotProvisioned(f"there is no grant {grant_id}")
    state = now.state
    await visit.must(Operation.HISTORY, state.provider, state.subject)
    use = AuditUse.HISTORY if at is None else AuditUse.AS_OF
    words = f"grant {grant_id}" + (f" as of {at.isoformat()}" if at else "")
    await visit.record(use, words, grant_id=grant_id)
    shown: UserGrant | None = now
    below: int | None = None
    if at is not None:
        found = await ledger.as_of(grant_id, at=at)
        shown = None if found is None else found.grant
        below = 0 if found is None else found.log_size
    # This brings the trail up to the log.
    first = (await ledger.audit(AuditFilter(grant_id=grant_id), limit=1)).rows
    rows, more = await _rows_of(visit, grant_id, below)
    timeline = Timeline()
    for row in rows:
        timeline.add(row)
    return visit.page(
        "grant.html",
        f"{state.provider} · {state.subject or ERASED_TEXT}",
        grant=shown,
        data=None if shown is None else grant_data(shown),
        grant_id=grant_id,
        state=state,
        at=at,
        first_at=first[0].recorded_at if first else None,
        now=clock.now(),
        # Made by us, of names and numbers: nothing in it is anybody's text.
        picture=Markup(timeline.svg()),  # noqa: S704 - see above
        rows=shown_rows(reversed(rows[-MAX_LISTED:])),
        # Of the past: what the log had then, and no more.
        kept=f"grant={grant_id}" + ("" if below is None else f"&below={below}"),
        until=None if at is None else (at + _TICK).isoformat(),
        more=more or len(rows) > MAX_LISTED,
        live=None if at else await ledger.hand_outs(grant_id, clock.now()),
    )


async def _rows_of(
    visit: Visit, grant_id: UUID, below: int | None
) -> tuple[list[AuditRow], bool]:
    """Return the newest rows of a grant, oldest first, and whether there are more.

    The trail has been brought up to the log.
    """
    ledger = visit.console.opened.ledger
    first = after = await ledger.before_newest(grant_id, below, MAX_DRAWN)
    kept: list[AuditRow] = []
    wanted = AuditFilter(grant_id=grant_id, below=below)
    while True:
        page = await ledger.audit(wanted, after=after, limit=500)
        kept += page.rows
        after = page.after
        if after is None:
            return kept[-MAX_DRAWN:], first is not None


def _id(text: str) -> UUID:
    found = uuid_of(text, "grant")
    if found is None:
        raise InvalidRequest("a grant has an id", "grant")
    return found
