"""Evidence bundles over HTTP: asked for in a body, answered as a zip."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated

from fastapi import APIRouter, Depends
from fastapi.responses import FileResponse

from grantledger.adapters.http.evidence_zip import ZIP, evidence_zip
from grantledger.adapters.http.management import models
from grantledger.adapters.http.management.asking import (
    Calling,
    body_of,
    body_schema,
)
from grantledger.adapters.http.service import Service
from grantledger.domain.evidence import EvidenceAsked
from grantledger.domain.grant_state import GrantState
from grantledger.domain.policy import Operation
from grantledger.domain.requests import Caller
from grantledger.domain.values import Secret

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
            await broker.authorise_all(caller, Operation.EVIDENCE)
        may = _may(service, caller)
        return await evidence_zip(service.opened, caller, asked, may)


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


def _may(service: Service, caller: Caller) -> Callable[[GrantState], bool]:
    policy = service.opened.broker.env.policy

    def may(state: GrantState) -> bool:
        return policy.permits(caller, Operation.EVIDENCE, state.provider, state.subject)

    return may
