"""Looking at grants: one, many, as of then, and what happened."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from datetime import datetime
from itertools import islice
from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Query
from pydantic.json_schema import SkipJsonSchema

from grantledger.adapters.bootstrap.seeing import seen_page
from grantledger.adapters.http import shown
from grantledger.adapters.http.management import models
from grantledger.adapters.http.management.asking import GRANT, Calling, Keyed, grant_for
from grantledger.adapters.http.service import Service
from grantledger.adapters.ledger.histories import Told
from grantledger.adapters.ledger.stored_ledger import StoredLedger
from grantledger.domain.audit_access import AuditUse
from grantledger.domain.endings import still_live
from grantledger.domain.errors import InvalidRequest, NotProvisioned
from grantledger.domain.fleet import MAX_PAGE, GrantFilter, GrantPage
from grantledger.domain.policy import Operation
from grantledger.domain.requests import Caller
from grantledger.domain.user_grant import UserGrant
from grantledger.domain.values import (
    MAX_NAME_LENGTH,
    MAX_SCOPE_LENGTH,
    MAX_SUBJECT_LENGTH,
    GrantStatus,
)
from grantledger.projections.audit_trail import HistoryLine, each_line

MAX_VERSION = 2**31 - 1
MAX_LEAF = 2**53
MAX_CURSOR = 64
ID_BYTES, SIZE_BYTES = 16, 8
"""A cursor holds an id, and how many leaves the log had where grants are of then."""

_Name = Annotated[str | None, Query(min_length=1, max_length=MAX_NAME_LENGTH)]
_Long = Annotated[str | None, Query(min_length=1, max_length=MAX_SUBJECT_LENGTH)]
_Time = Annotated[models.Time | SkipJsonSchema[None], Query()]
_Limit = Annotated[int, Query(ge=1, le=MAX_PAGE)]
_Size = Annotated[
    int,
    Query(ge=0, le=2**53, description="Of the first page, for those that follow it."),
]


def add_to(router: APIRouter, service: Service) -> None:
    """Add the endpoints that change nothing."""
    opened = service.opened
    broker = opened.broker

    @router.get("/v1/grants", response_model=models.PageOut, summary="List grants")
    async def page(
        caller: Calling,
        provider: _Name = None,
        status: GrantStatus | None = None,
        label: _Name = None,
        subject: _Long = None,
        client_id: _Long = None,
        scope: Annotated[
            str | None, Query(min_length=1, max_length=MAX_SCOPE_LENGTH)
        ] = None,
        consented_from: _Time = None,
        consented_until: _Time = None,
        modified_from: _Time = None,
        modified_until: _Time = None,
        limit: _Limit = 100,
        cursor: Annotated[
            str | None, Query(min_length=1, max_length=MAX_CURSOR)
        ] = None,
        at: Annotated[
            models.Time | SkipJsonSchema[None],
            Query(description="As they were: what was recorded by then."),
        ] = None,
        at_leaf: Annotated[
            int | None,
            Query(ge=0, le=MAX_LEAF, description="As with this leaf the newest."),
        ] = None,
    ) -> object:
        then = at is not None or at_leaf is not None
        operation = Operation.AS_OF if then else Operation.LIST
        await broker.authorise(caller, operation, provider, subject)
        wanted = GrantFilter(
            provider,
            status,
            label,
            subject,
            client_id,
            scope,
            consented_from,
            consented_until,
            modified_from,
            modified_until,
        )
        after, size = (None, None) if cursor is None else _place(cursor, sized=then)
        if then:
            size = await point_of(opened.ledger, at, at_leaf, known=size)
            said = f"every grant when there were {size} leaves"
            await broker.audit_access.record(caller, AuditUse.AS_OF, said)
        grants, place = await _seen(service, caller, wanted, size, after, limit)
        return {
            "grants": [shown.grant_data(grant) for grant in grants],
            "next": None if place is None else _cursor(place, size),
            "log_size": size,
        }

    @router.get(
        GRANT,
        response_model=models.GrantOut,
        summary="Show a grant",
    )
    async def status_of(caller: Calling, key: Keyed) -> object:
        grant = await grant_for(service, caller, Operation.STATUS, key)
        return shown.grant_data(grant)

    @router.get(
        GRANT + "/obligations",
        response_model=models.ObligationsOut,
        summary="Show what is owed to the server for a grant",
    )
    async def obligations(caller: Calling, key: Keyed) -> object:
        grant = await grant_for(service, caller, Operation.STATUS, key)
        now = broker.env.clock.now()
        entries = await opened.ledger.hand_outs(grant.id, now)
        scopes = {token.version: token.scopes for token in grant.state.access_tokens}
        live = still_live(entries, scopes)
        return {
            "grant_id": grant.id,
            "status": grant.state.status,
            "confirmed": all(o.confirmed for o in grant.state.obligations),
            "obligations": [shown.obligation_data(o) for o in grant.state.obligations],
            "live": [shown.hand_out_data(line) for line in live],
        }

    @router.get(
        GRANT + "/history",
        response_model=models.HistoryOut,
        summary="Tell what happened to a grant",
    )
    async def history(
        caller: Calling,
        key: Keyed,
        after: Annotated[int, Query(ge=0, le=MAX_VERSION)] = 0,
        limit: _Limit = 100,
        log_size: _Size = 0,
    ) -> object:
        grant = await grant_for(service, caller, Operation.HISTORY, key)
        return await _history(service, caller, grant, after, limit, log_size)

    @router.get(
        GRANT + "/as-of",
        response_model=models.AsOfOut,
        summary="Show a grant as it was",
    )
    async def as_of(
        caller: Calling,
        key: Keyed,
        at: _Time = None,
        version: Annotated[int | None, Query(ge=1, le=MAX_VERSION)] = None,
        position: Annotated[int | None, Query(ge=0, le=MAX_LEAF)] = None,
    ) -> object:
        _check_point(at, version, position)
        grant = await grant_for(service, caller, Operation.AS_OF, key)
        point = f"at {at}, version {version}, leaf {position}"
        await broker.audit_access.record(caller, AuditUse.AS_OF, point, key=key)
        found = await opened.ledger.as_of(
            grant.id, at=at, version=version, position=position
        )
        if found is None:
            raise NotProvisioned("the grant was not there then")
        return {
            "grant": shown.grant_data(found.grant),
            "leaf_index": found.leaf_index,
            "log_size": found.log_size,
            "learned_later": []
            if at is None
            else [asdict(o) for o in await opened.ledger.learned_later(grant.id, at)],
        }

    @router.get(
        "/v1/grant-ids/{grant_id}",
        response_model=models.GrantOut,
        summary="Show a grant by its id, such as an erased one",
    )
    async def by_id(caller: Calling, grant_id: UUID) -> object:
        return shown.grant_data(
            await _by_id(service, caller, Operation.STATUS, grant_id)
        )

    @router.get(
        "/v1/grant-ids/{grant_id}/history",
        response_model=models.HistoryOut,
        summary="Tell what happened to a grant, by its id",
    )
    async def history_by_id(
        caller: Calling,
        grant_id: UUID,
        after: Annotated[int, Query(ge=0, le=MAX_VERSION)] = 0,
        limit: _Limit = 100,
        log_size: _Size = 0,
    ) -> object:
        grant = await _by_id(service, caller, Operation.HISTORY, grant_id)
        return await _history(service, caller, grant, after, limit, log_size)


async def _by_id(
    service: Service, caller: Caller, operation: Operation, grant_id: UUID
) -> UserGrant:
    """Return the grant of an id; one that may not be seen is as one that is not."""
    broker = service.opened.broker
    await broker.authorise(caller, operation)
    grant = await service.opened.ledger.get(grant_id)
    if grant is None or not broker.env.policy.permits(
        caller, operation, grant.state.provider, grant.state.subject
    ):
        raise NotProvisioned(f"there is no grant {grant_id}")
    return grant


async def _history(
    service: Service,
    caller: Caller,
    grant: UserGrant,
    after: int,
    limit: int,
    log_size: int,
) -> Mapping[str, object]:
    """Return some lines, on the record first.

    As the log was at the first page: each reading adds a line.
    """
    opened = service.opened
    size = log_size or (await opened.ledger.log()).tree.size
    await opened.broker.audit_access.record(
        caller, AuditUse.HISTORY, f"history from line {after} on", grant_id=grant.id
    )

    def page(told: Iterator[Told]) -> list[HistoryLine]:
        """Return the page, and one line more if there is one."""
        return list(islice(each_line(told), after, after + limit + 1))

    some = await opened.ledger.over_history(grant.id, page, size)
    return {
        "grant_id": grant.id,
        "status": grant.state.status,
        "history": [_line(line) for line in some[:limit]],
        "next": after + limit if len(some) > limit else None,
        "log_size": size,
    }


def _line(line: HistoryLine) -> dict[str, object]:
    return {
        "leaf": line.leaf,
        "event": line.event,
        "at": line.at,
        "actor": line.actor,
        "actor_kind": line.actor_kind,
        "acting_for": line.acting_for,
        "scopes": line.scopes,
        "what": line.what,
    }


def _check_point(*said: object) -> None:
    """Refuse a point that is not said in exactly one way.

    Raises:
        InvalidRequest: names the first of them.
    """
    if sum(one is not None for one in said) != 1:
        raise InvalidRequest("say one of at, version and position", "at")


async def _seen(
    service: Service,
    caller: Caller,
    wanted: GrantFilter,
    size: int | None,
    after: UUID | None,
    limit: int,
) -> tuple[Sequence[UserGrant], UUID | None]:
    """Return the next grants that the caller may see, and where to go on."""
    policy = service.opened.broker.env.policy
    operation = Operation.LIST if size is None else Operation.AS_OF
    everything = policy.permits_all(caller, operation)
    portion = limit if everything else MAX_PAGE

    async def following(
        after: UUID | None,
    ) -> tuple[Sequence[UserGrant], UUID | None]:
        page = await _page(service, wanted, size, after, portion)
        return page.grants, page.after

    def may(grant: UserGrant) -> bool:
        state = grant.state
        return policy.permits(caller, operation, state.provider, state.subject)

    if everything:
        return await following(after)
    return await seen_page(following, may, lambda one: one.id, after, limit)


async def _page(
    service: Service,
    wanted: GrantFilter,
    size: int | None,
    after: UUID | None,
    limit: int,
) -> GrantPage:
    """Return the next grants, as they were at a size of the log, or as they are."""
    ledger = service.opened.ledger
    if size is None:
        return await ledger.page(wanted, after=after, limit=limit)
    return await ledger.page_at(
        wanted, await ledger.size(size), after=after, limit=limit
    )


async def point_of(
    ledger: StoredLedger,
    at: datetime | None,
    leaf: int | None,
    *,
    known: int | None = None,
    name: str = "at",
) -> int:
    """Return how many leaves the log had at a point; `known` from an earlier page.

    Raises:
        InvalidRequest: both are said, or there is no such leaf.
    """
    if at is not None and leaf is not None:
        raise InvalidRequest(f"say {name} as a time or as a leaf, and not both", name)
    if known is not None:
        return await ledger.size(known)
    if at is not None:
        return await ledger.size_at(at)
    return await ledger.size(None if leaf is None else leaf + 1)


def _cursor(after: UUID, size: int | None = None) -> str:
    more = b"" if size is None else size.to_bytes(SIZE_BYTES)
    return base64.urlsafe_b64encode(after.bytes + more).decode().rstrip("=")


def _place(cursor: str, *, sized: bool) -> tuple[UUID, int | None]:
    """Return where a page begins, and how many leaves the log had for the first one.

    Args:
        cursor: as it was given out.
        sized: it was given out for grants as they were.

    Raises:
        InvalidRequest: it is no cursor of ours, or of another list.
    """
    try:
        padded = cursor + "=" * (-len(cursor) % 4)
        raw = base64.b64decode(padded, altchars=b"-_", validate=True)
        size = int.from_bytes(raw[ID_BYTES:][:SIZE_BYTES]) if sized else None
        last = raw[:-SIZE_BYTES] if sized else raw
        return UUID(bytes=last), size
    except (ValueError, binascii.Error):
        raise InvalidRequest("cursor is none that was given out", "cursor") from None
