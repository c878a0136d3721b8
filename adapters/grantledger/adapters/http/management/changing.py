"""Importing, rotating and ending grants."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import suppress
from typing import Annotated
from urllib.parse import quote

import msgspec
from fastapi import APIRouter, Depends, Response
from fastapi.responses import StreamingResponse

from grantledger.adapters.http import shown
from grantledger.adapters.http.guarding import noticed, told
from grantledger.adapters.http.management import models
from grantledger.adapters.http.management.asking import (
    GRANT,
    Calling,
    Keyed,
    body_of,
    body_schema,
    grant_for,
)
from grantledger.adapters.http.service import Service
from grantledger.domain.bulk import Affected, BulkReceipt, Selection, Totals
from grantledger.domain.errors import GrantledgerError
from grantledger.domain.policy import Operation
from grantledger.domain.requests import Caller, check_key
from grantledger.domain.user_grant import Consent
from grantledger.domain.values import (
    GrantKey,
    RefreshToken,
    Secret,
    TokenFingerprint,
    parse_scopes,
)

NDJSON = "application/x-ndjson"
_Import = Annotated[models.Import, Depends(body_of(models.Import))]
_Revoke = Annotated[models.Revoke, Depends(body_of(models.Revoke))]
_Bulk = Annotated[models.BulkRevoke, Depends(body_of(models.BulkRevoke))]
_ENCODER = msgspec.json.Encoder()


def add_to(router: APIRouter, service: Service) -> None:
    """Add the endpoints that change something."""
    broker = service.opened.broker

    @router.post(
        "/v1/grants",
        status_code=201,
        response_model=models.GrantOut,
        summary="Import a refresh token that was obtained elsewhere",
        openapi_extra=body_schema(models.Import),
    )
    async def import_one(caller: Calling, said: _Import, response: Response) -> object:
        key = GrantKey(said.provider, said.subject, said.label)
        check_key(key)
        await broker.authorise(
            caller, Operation.IMPORT, key.provider, key.subject, key.label
        )
        rules = broker.env.provider(key.provider).rules
        consent = Consent(
            key=key,
            client_id=rules.client_id,
            flow="import",
            scopes=parse_scopes(said.scopes),
            refresh_token=RefreshToken(said.refresh_token.get_secret_value()),
            refresh_expires_at=said.expires_at,
            audience=rules.audience,
        )
        grant = await broker.provision(caller, consent)
        response.headers["Location"] = _path(key)
        return shown.grant_data(grant)

    @router.post(
        GRANT + "/rotate",
        response_model=models.GrantOut,
        summary="Redeem the refresh token now",
    )
    async def rotate(caller: Calling, key: Keyed) -> object:
        return shown.grant_data(await broker.rotate(caller, key))

    @router.post(
        GRANT + "/revoke",
        response_model=models.RevocationOut,
        responses={202: {"model": models.RevocationOut}},
        summary="End a grant: here at once, and at the server until it confirms",
        openapi_extra=body_schema(models.Revoke, required=False),
    )
    async def revoke(
        caller: Calling, key: Keyed, said: _Revoke, response: Response
    ) -> object:
        await grant_for(service, caller, Operation.REVOKE, key)
        receipt = await broker.revoke(
            caller,
            key,
            reason=said.reason,
            reason_text=said.reason_text,
            ticket=said.ticket,
        )
        url = _path(key, "/obligations")
        if not receipt.confirmed:
            response.status_code = 202
            response.headers["Location"] = url
        return {
            "grant_id": receipt.grant.grant_id,
            "status": receipt.grant.status,
            "already": receipt.already,
            "confirmed": receipt.confirmed,
            "revoked_at": receipt.grant.revoked_at,
            "obligations": [shown.obligation_data(o) for o in receipt.obligations],
            "live": [shown.hand_out_data(line) for line in receipt.live],
            "obligations_url": url,
        }

    @router.post(
        "/v1/incidents/revoke",
        response_class=StreamingResponse,
        responses={
            200: {
                "description": "A line of JSON for each grant, and one for all.",
                "content": {
                    NDJSON: {"schema": {"$ref": "#/components/schemas/BulkLineOut"}}
                },
            }
        },
        summary="End many grants, or see which would end",
        openapi_extra=body_schema(models.BulkRevoke),
    )
    async def bulk(caller: Calling, said: _Bulk) -> object:
        operation = Operation.BULK_PREVIEW if said.dry_run else Operation.BULK_REVOKE
        selection = _selection(said.selection)
        await broker.authorise(caller, operation, selection.provider, selection.subject)
        return StreamingResponse(
            _lines(service, caller, said, selection), media_type=NDJSON
        )


async def _lines(
    service: Service, caller: Caller, said: models.BulkRevoke, selection: Selection
) -> AsyncIterator[bytes]:
    """Yield a line for each grant, each revocation durable before its line."""
    bulk = service.opened.broker.bulk
    totals = Totals()
    found: AsyncIterator[Affected | BulkReceipt] = (
        bulk.preview(caller, selection)
        if said.dry_run
        else bulk.revoke_all(
            caller,
            selection,
            reason=said.reason,
            reason_text=said.reason_text,
            ticket=said.ticket,
        )
    )
    try:
        async for line in found:
            totals.add(line)
            yield _ENCODER.encode(_bulk_data(line)) + b"\n"
    except GrantledgerError as error:
        told(error)
        # Where not even this can be recorded, the line is sent all the same.
        with suppress(GrantledgerError):
            await service.opened.broker.refused(caller, error)
        yield _ENCODER.encode({"error": error.code}) + b"\n"
    except Exception as error:  # noqa: BLE001 - the status is sent: a line tells it
        noticed(error)
        yield _ENCODER.encode({"error": "unexpected"}) + b"\n"
    total = {
        "grants": totals.grants,
        "ends": totals.ends,
        "failed": totals.failed,
        "owed": totals.owed,
        "live": totals.live,
    }
    yield _ENCODER.encode({"total": total}) + b"\n"


def _bulk_data(line: Affected | BulkReceipt) -> dict[str, object]:
    if isinstance(line, Affected):
        outcome = "would_end" if line.ends else "ended_before"
    else:
        outcome = str(line.outcome)
    return {
        "grant_id": line.grant.grant_id,
        "provider": line.grant.provider,
        "subject": line.grant.subject,
        "label": line.grant.label,
        "status": line.grant.status,
        "outcome": outcome,
        "owed": line.owed,
        "live": [shown.hand_out_data(one) for one in line.live],
        "error": None if line.error is None else line.error.code,
    }


def _selection(said: models.Select) -> Selection:
    mark, token = said.fingerprint, said.token
    return Selection(
        provider=said.provider,
        client_id=said.client_id,
        scope=said.scope,
        label=said.label,
        subject=said.subject,
        caller=said.caller,
        since=said.since,
        until=said.until,
        fingerprint=None if mark is None else TokenFingerprint(mark),
        token=None if token is None else Secret(token.get_secret_value()),
        grant_ids=tuple(said.grant_ids),
    )


def _path(key: GrantKey, rest: str = "") -> str:
    path = f"/v1/grants/{quote(key.provider, safe='')}/{quote(key.subject, safe='')}"
    label = "" if key.label == "default" else f"?label={quote(key.label, safe='')}"
    return f"{path}{rest}{label}"
