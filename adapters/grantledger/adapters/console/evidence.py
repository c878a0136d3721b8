"""Evidence of what a page shows: a bundle that is verified elsewhere, as a zip."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from pathlib import Path

import anyio.to_thread
from starlette.background import BackgroundTask
from starlette.responses import FileResponse, Response
from starlette.routing import BaseRoute, Route

from grantledger.adapters.bootstrap.bundle import pack
from grantledger.adapters.bootstrap.evidence import make_evidence
from grantledger.adapters.console.asking import said, time_of, uuid_of
from grantledger.adapters.console.visitors import ROOT, Console, Visit, visited
from grantledger.domain.evidence import EvidenceAsked
from grantledger.domain.grant_state import GrantState
from grantledger.domain.policy import Operation


def routes(console: Console) -> Sequence[BaseRoute]:
    """Return the route."""
    return [Route(f"{ROOT}/evidence", visited(console, evidence), methods=["POST"])]


async def evidence(visit: Visit) -> Response:
    """Answer `POST /console/evidence`: of a grant, or of all in a time."""
    form = await visit.form()
    asked = EvidenceAsked(
        grant_id=uuid_of(said(form, "grant"), "grant"),
        recorded_from=time_of(said(form, "from"), "from"),
        recorded_until=time_of(said(form, "until"), "until"),
    )
    await visit.must(Operation.EVIDENCE)
    # A range has the leaves of everybody.
    if not asked.narrowed:
        await visit.must_see_all(Operation.EVIDENCE)

    def may(state: GrantState) -> bool:
        return visit.may(Operation.EVIDENCE, state.provider, state.subject)

    kept = await anyio.to_thread.run_sync(_Kept)
    try:
        opened = visit.console.opened
        made = await make_evidence(opened, visit.caller, asked, kept.bundle, may)
        created_at = made.manifest.created_at
        await anyio.to_thread.run_sync(pack, kept.bundle, kept.packed, created_at)
    except BaseException:
        kept.cleanup()
        raise
    return FileResponse(
        kept.packed,
        media_type="application/zip",
        filename=f"evidence-{created_at:%Y%m%dT%H%M%SZ}.zip",
        background=BackgroundTask(kept.cleanup),
    )


class _Kept(tempfile.TemporaryDirectory[str]):
    """Where a bundle is made, for its owner alone, until the answer was sent."""

    def __init__(self) -> None:
        super().__init__(prefix="grantledger-evidence-")
        self.bundle = Path(self.name, "bundle")
        self.bundle.mkdir(mode=0o700)
        self.packed = Path(self.name, "evidence.zip")
