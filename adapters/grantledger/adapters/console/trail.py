"""The audit trail: every event and every hand-out, in the order of the log."""

from __future__ import annotations

from collections.abc import Sequence

from starlette.responses import Response
from starlette.routing import BaseRoute, Route

from grantledger.adapters.console.asking import (
    position_of,
    rows_asked,
    said,
    with_fields,
)
from grantledger.adapters.console.rows import shown_rows
from grantledger.adapters.console.visitors import ROOT, Console, Visit, visited
from grantledger.domain.audit import AuditOutcome
from grantledger.domain.audit_access import AuditUse
from grantledger.domain.policy import Operation

PAGE_SIZE = 100
_OUTCOMES = tuple(str(outcome) for outcome in AuditOutcome)


def routes(console: Console) -> Sequence[BaseRoute]:
    """Return the route."""
    return [Route(f"{ROOT}/trail", visited(console, trail), methods=["GET"])]


async def trail(visit: Visit) -> Response:
    """Answer `GET /console/trail?event=…&after=…`."""
    query = visit.request.query_params
    wanted = rows_asked(query)
    after = position_of(said(query, "after"))
    await visit.must(Operation.AUDIT)
    fields = ", ".join(sorted(name for name in query if query[name].strip()))
    await visit.record(AuditUse.READ, f"audit trail: {fields or 'all'}")
    page = await visit.console.opened.ledger.audit(wanted, after=after, limit=PAGE_SIZE)
    following = None
    if page.after is not None:
        place = f"{page.after.leaf_index}.{page.after.entry}"
        following = with_fields(query, after=place)
    return visit.page(
        "trail.html",
        "Audit trail",
        rows=shown_rows(page.rows),
        query=query,
        outcomes=_OUTCOMES,
        following=following,
        first=None if after is None else with_fields(query, after=None),
        size=page.size,
        complete=wanted.complete,
    )
