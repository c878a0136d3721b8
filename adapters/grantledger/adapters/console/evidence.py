"""Evidence of what a page shows: a bundle that is verified elsewhere, as a zip."""

from __future__ import annotations

from collections.abc import Sequence

from starlette.responses import Response
from starlette.routing import BaseRoute, Route

from grantledger.adapters.console.asking import said, time_of, uuid_of
from grantledger.adapters.console.visitors import ROOT, Console, Visit, visited
from grantledger.adapters.http.evidence_zip import evidence_zip
from grantledger.domain.evidence import EvidenceAsked
from grantledger.domain.grant_state import GrantState
from grantledger.domain.policy import Operation


def routes(console: Console) -> Sequence[BaseRoute]:
    """Return the route."""
    return [Route(f"{ROOT}/evidence", visited(console, evidence), methods=["POST"])]


async def evidence(visit: Visit) -> Response:
    """Answer `POST /console/evidence`: of a grant, a user, or all in a time."""
    form = await visit.form()
    asked = EvidenceAsked(
        grant_id=uuid_of(said(form, "grant"), "grant"),
        provider=said(form, "provider"),
        subject=said(form, "subject"),
        recorded_from=time_of(said(form, "from"), "from"),
        recorded_until=time_of(said(form, "until"), "until"),
    )
    await visit.must(Operation.EVIDENCE)
    # A range has the leaves of everybody.
    if not asked.narrowed:
        await visit.must_see_all(Operation.EVIDENCE)

    def may(state: GrantState) -> bool:
        return visit.may(Operation.EVIDENCE, state.provider, state.subject)

    return await evidence_zip(visit.console.opened, visit.caller, asked, may)
