"""The audit trail: every event and every hand-out, in the order of the log."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

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

PAGE_SIZE = 50
_OUTCOMES = tuple(str(outcome) for outcome in AuditOutcome)


def routes(console: Console) -> Sequence[BaseRoute]:
    """Return the route."""
    return [Route(f"{ROOT}/trail", visited(console, trail), methods=["GET"])]


async def trail(visit: Visit) -> Response:
    """Answer `GET /console/trail?event=…&after=…`."""
    query = visit.request.query_params
    wanted = rows_asked(query)
    after = position_of(said(query, "after"))
    reading = await visit.reading(AuditUse.READ, wanted, "trail")
    page = await reading.page(after, PAGE_SIZE)
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
        complete=wanted.complete and visit.sees_all(Operation.AUDIT),
        kept=with_fields(query, after=None),
        proven=_proven(visit, query),
    )


def _proven(visit: Visit, query: Mapping[str, str]) -> dict[str, str]:
    """Return what a bundle of these rows is asked for with, none where there is none.

    A bundle is of a grant, of a user, or of all in a time: it holds every row of that,
    and so all of these.
    """
    times = {name: query[name] for name in ("from", "until") if said(query, name)}
    if said(query, "grant"):
        return {"grant": query["grant"], **times}
    if said(query, "subject"):
        return {"provider": query["provider"], "subject": query["subject"], **times}
    if "from" in times and visit.sees_all(Operation.EVIDENCE):
        return times
    return {}
