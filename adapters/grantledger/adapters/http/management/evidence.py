"""Evidence bundles over HTTP: asked for in a body, answered as a zip."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import anyio.to_thread
from fastapi import APIRouter, Depends
from fastapi.responses import FileResponse
from starlette.background import BackgroundTask

from grantledger.adapters.bootstrap.bundle import pack
from grantledger.adapters.bootstrap.evidence import make_evidence
from grantledger.adapters.http.management import models
from grantledger.adapters.http.management.asking import (
    Calling,
    body_of,
    body_schema,
)
from grantledger.adapters.http.service import Service
from grantledger.domain.errors import Denied
from grantledger.domain.evidence import EvidenceAsked, EvidenceLimits
from grantledger.domain.grant_state import GrantState
from grantledger.domain.policy import Operation
from grantledger.domain.requests import Caller
from grantledger.domain.values import Secret

ZIP = "application/zip"
LIMITS = EvidenceLimits(chosen=1_000, ranged=5_000)
"""Less than the command line's: somebody waits for the answer."""

_Asked = Annotated[models.EvidenceIn, Depends(body_of(models.EvidenceIn))]


def add_to(router: APIRouter, service: Service) -> None:
    """Add the endpoint."""
    broker = service.opened.broker

    @router.post(
        "/v1/evidence",
        response_class=FileResponse,
        responses={
            200: {
                "description": "The bundle: manifest, leaves, proofs and a report.",
                "content": {ZIP: {"schema": {"type": "string", "format": "binary"}}},
            }
        },
        summary="Prove what was recorded of a grant, a token, a user or a time",
        openapi_extra=body_schema(models.EvidenceIn),
    )
    async def evidence(caller: Calling, said: _Asked) -> object:
        asked = _asked(said)
        await broker.authorise(
            caller, Operation.EVIDENCE, asked.provider, asked.subject
        )
        # A range has the leaves of everybody.
        if asked.complete or not asked.narrowed:
            await _everything(service, caller)
        kept = await anyio.to_thread.run_sync(_Kept)
        try:
            made = await make_evidence(
                service.opened,
                caller,
                asked,
                kept.bundle,
                _may(service, caller),
                LIMITS,
            )
            created_at = made.manifest.created_at
            await anyio.to_thread.run_sync(pack, kept.bundle, kept.packed, created_at)
        except BaseException:
            kept.cleanup()
            raise
        return FileResponse(
            kept.packed,
            media_type=ZIP,
            filename=f"evidence-{created_at:%Y%m%dT%H%M%SZ}.zip",
            headers={"Cache-Control": "no-store"},
            background=BackgroundTask(kept.cleanup),
        )


class _Kept(tempfile.TemporaryDirectory[str]):
    """Where a bundle is made, for its owner alone, until the answer was sent."""

    def __init__(self) -> None:
        super().__init__(prefix="grantledger-evidence-")
        self.bundle = Path(self.name, "bundle")
        self.bundle.mkdir(mode=0o700)
        self.packed = Path(self.name, "evidence.zip")


def _asked(said: models.EvidenceIn) -> EvidenceAsked:
    token = said.token
    return EvidenceAsked(
        grant_id=said.grant_id,
        token=None if token is None else Secret(token.get_secret_value()),
        provider=said.provider,
        subject=said.subject,
        erasure=said.erasure,
        recorded_from=said.recorded_from,
        recorded_until=said.recorded_until,
        complete=said.complete,
    )


async def _everything(service: Service, caller: Caller) -> None:
    """Refuse, recorded, whoever may not see every grant.

    Raises:
        Denied: some are not the caller's to see.
    """
    broker = service.opened.broker
    if broker.env.policy.permits_all(caller, Operation.EVIDENCE):
        return
    error = Denied(
        f"caller {caller.id!r} may not see every grant, and a range has all",
        "may_not_see_all",
    )
    await broker.refused(caller, error)
    raise error


def _may(service: Service, caller: Caller) -> Callable[[GrantState], bool]:
    policy = service.opened.broker.env.policy

    def may(state: GrantState) -> bool:
        return policy.permits(caller, Operation.EVIDENCE, state.provider, state.subject)

    return may
