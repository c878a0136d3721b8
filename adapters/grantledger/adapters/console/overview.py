"""The first page: is all well, and what is owed."""

from __future__ import annotations

from collections.abc import Sequence

from starlette.responses import Response
from starlette.routing import BaseRoute, Route

from grantledger.adapters.console.visitors import ROOT, Console, Visit, visited
from grantledger.domain.audit_access import AuditUse
from grantledger.domain.policy import Operation


def routes(console: Console) -> Sequence[BaseRoute]:
    """Return the route."""
    return [Route(ROOT, visited(console, overview), methods=["GET"])]


async def overview(visit: Visit) -> Response:
    """Answer `GET /console`."""
    await visit.must(Operation.LIST)
    await visit.record(AuditUse.READ, "overview")
    opened = visit.console.opened
    view = await opened.ledger.log()
    refusal = opened.ledger.memory.refusal
    return visit.page(
        "overview.html",
        "Overview",
        ledger=opened.ledger.name,
        size=view.tree.size,
        root_hash=view.tree.root().hex(),
        refusal=None if refusal is None else str(refusal),
    )
