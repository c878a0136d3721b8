"""Tracing a token, and comparing two points of the log."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Depends, Query
from pydantic.json_schema import SkipJsonSchema

from grantledger.adapters.bootstrap.seeing import seen_page
from grantledger.adapters.bootstrap.tracing import Asked, trace_token
from grantledger.adapters.http.management import models, trace_models
from grantledger.adapters.http.management.asking import Calling, body_of, body_schema
from grantledger.adapters.http.management.looking import MAX_LEAF, point_of
from grantledger.adapters.http.service import Service
from grantledger.adapters.http.shown_diff import change_data
from grantledger.adapters.http.shown_trace import trace_data
from grantledger.domain.audit_access import AuditUse
from grantledger.domain.errors import InvalidRequest, NotProvisioned
from grantledger.domain.fleet import MAX_PAGE
from grantledger.domain.policy import Operation
from grantledger.domain.values import MAX_NAME_LENGTH, Secret, TokenFingerprint
from grantledger.projections.differences import Change

_Trace = Annotated[trace_models.TraceIn, Depends(body_of(trace_models.TraceIn))]
_Time = Annotated[models.Time | SkipJsonSchema[None], Query()]
_Leaf = Annotated[int | None, Query(ge=0, le=MAX_LEAF)]
_Name = Annotated[str | None, Query(min_length=1, max_length=MAX_NAME_LENGTH)]


def add_to(router: APIRouter, service: Service) -> None:
    """Add the endpoints; the token comes in a body, never in a URL."""
    opened = service.opened
    broker = opened.broker

    @router.post(
        "/v1/trace",
        response_model=trace_models.TraceOut,
        summary="Trace a token: what it came from and led to, and who holds it",
        openapi_extra=body_schema(trace_models.TraceIn),
    )
    async def trace(caller: Calling, said: _Trace) -> object:
        await broker.authorise(caller, Operation.TRACE)
        token, mark = said.token, said.fingerprint
        asked = Asked(
            token=None if token is None else Secret(token.get_secret_value()),
            fingerprint=None if mark is None else TokenFingerprint(mark),
            jti=said.jti,
            grant_id=said.grant_id,
            since=said.since,
            near=said.near,
        )
        policy = broker.env.policy
        found = await trace_token(
            opened,
            caller,
            asked,
            lambda state: policy.permits(
                caller, Operation.TRACE, state.provider, state.subject
            ),
        )
        return trace_data(found)

    @router.get(
        "/v1/diff",
        response_model=trace_models.DiffOut,
        summary="Tell which grants changed between two points, and what of them",
    )
    async def diff(
        caller: Calling,
        from_at: _Time = None,
        from_leaf: _Leaf = None,
        to_at: _Time = None,
        to_leaf: _Leaf = None,
        grant_id: UUID | None = None,
        provider: _Name = None,
        limit: Annotated[int, Query(ge=1, le=MAX_PAGE)] = 100,
        after: UUID | None = None,
    ) -> object:
        await broker.authorise(caller, Operation.AS_OF, provider)
        if from_at is None and from_leaf is None:
            raise InvalidRequest("say from_at or from_leaf", "from_at")
        ledger = opened.ledger
        sizes = (
            await point_of(ledger, from_at, from_leaf, name="from_at"),
            await point_of(ledger, to_at, to_leaf, name="to_at"),
        )
        if sizes[1] < sizes[0]:
            raise InvalidRequest("the second point lies before the first", "to_at")
        policy = broker.env.policy

        def may(change: Change) -> bool:
            state = change.after.state
            return policy.permits(
                caller, Operation.AS_OF, state.provider, state.subject
            )

        said = f"leaves {sizes[0]} to {sizes[1]}"
        await broker.audit_access.record(caller, AuditUse.DIFF, said, grant_id=grant_id)
        if grant_id is None:
            everything = policy.permits_all(caller, Operation.AS_OF)
            portion = limit if everything else MAX_PAGE

            async def following(
                after: UUID | None,
            ) -> tuple[Sequence[Change], UUID | None]:
                return await ledger.changes(
                    sizes, provider=provider, after=after, limit=portion
                )

            some: Sequence[Change]
            if everything:
                some, place = await following(after)
            else:
                some, place = await seen_page(
                    following, may, lambda one: one.grant_id, after, limit
                )
        else:
            grant = await ledger.get(grant_id)
            if grant is None or not policy.permits(
                caller, Operation.AS_OF, grant.state.provider, grant.state.subject
            ):
                raise NotProvisioned(f"there is no grant {grant_id}")
            one = await ledger.change(grant_id, sizes)
            some, place = [] if one is None else [one], None
        return {
            "from_size": sizes[0],
            "to_size": sizes[1],
            "changes": [change_data(one) for one in some],
            "next": place,
        }
