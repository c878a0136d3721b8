"""Legal holds over HTTP."""

from __future__ import annotations

from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Depends

from grantledger.adapters.http.management import models
from grantledger.adapters.http.management.asking import Calling, body_of, body_schema
from grantledger.adapters.http.service import Service
from grantledger.adapters.http.shown import hold_data
from grantledger.domain.broker import Broker
from grantledger.domain.errors import Denied, InvalidRequest
from grantledger.domain.legal_hold import LegalHold
from grantledger.domain.policy import ANY, Operation
from grantledger.domain.requests import Caller

User = tuple[str, str] | None
_Set = Annotated[models.SetHold, Depends(body_of(models.SetHold))]
_Release = Annotated[models.ReleaseHold, Depends(body_of(models.ReleaseHold))]


def add_to(router: APIRouter, service: Service) -> None:
    """Add the endpoints for legal holds."""
    broker = service.opened.broker

    @router.post(
        "/v1/holds",
        status_code=201,
        response_model=models.HoldOut,
        summary="Put a legal hold on a grant, a user, or everything",
        openapi_extra=body_schema(models.SetHold),
    )
    async def set_hold(caller: Calling, said: _Set) -> object:
        user = (said.provider, said.subject) if said.provider and said.subject else None
        if (said.provider is None) != (said.subject is None):
            raise InvalidRequest("a user is provider and subject", "subject")
        whom = user or await _user_of(broker, said.grant_id)
        await _authorise(broker, caller, Operation.HOLD, whom)
        hold = await broker.holding.hold(
            caller,
            grant_id=said.grant_id,
            user=user,
            everything=said.everything,
            reason=said.reason,
            ticket=said.ticket,
        )
        return hold_data(hold)

    @router.get(
        "/v1/holds",
        response_model=models.HoldsOut,
        summary="The legal holds in force, oldest first",
    )
    async def list_holds(caller: Calling) -> object:
        await broker.authorise(caller, Operation.LIST_HOLDS)
        return {
            "holds": [
                hold_data(hold)
                for hold in await broker.holding.in_force()
                if _permits(
                    broker, caller, Operation.LIST_HOLDS, await _whom(broker, hold)
                )
            ]
        }

    @router.post(
        "/v1/holds/{hold_id}/release",
        response_model=models.HoldOut,
        summary="End a legal hold",
        openapi_extra=body_schema(models.ReleaseHold),
    )
    async def release(caller: Calling, hold_id: UUID, said: _Release) -> object:
        found = [h for h in await broker.holding.in_force() if h.id == hold_id]
        whom = await _whom(broker, found[0]) if found else None
        await _authorise(broker, caller, Operation.HOLD, whom)
        hold = await broker.holding.release(
            caller, hold_id, reason=said.reason, ticket=said.ticket
        )
        return hold_data(hold)


async def _whom(broker: Broker, hold: LegalHold) -> User:
    """Return the user that a hold is about, None for everything."""
    grants = hold.target.grants
    return await _user_of(broker, grants[0] if grants else None)


async def _user_of(broker: Broker, grant_id: UUID | None) -> User:
    grant = None if grant_id is None else await broker.env.ledger.get(grant_id)
    return None if grant is None else (grant.state.provider, grant.state.subject)


def _permits(broker: Broker, caller: Caller, operation: Operation, whom: User) -> bool:
    """Tell whether a rule lets the caller; for everything, one that names nobody."""
    provider, subject = whom or (ANY, ANY)
    return broker.env.policy.permits(caller, operation, provider, subject)


async def _authorise(
    broker: Broker, caller: Caller, operation: Operation, whom: User
) -> None:
    if _permits(broker, caller, operation, whom):
        return
    error = Denied(
        f"no rule lets caller {caller.id!r} do this: {operation}",
        f"may_not_{operation}",
    )
    await broker.refused(caller, error, *(whom or ()))
    raise error
