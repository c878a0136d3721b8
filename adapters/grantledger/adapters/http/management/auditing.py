"""`/v1/audit`: pages of the audit trail, exports of it, and what comes, as it comes.

Filters stand in the query, or in a body: what is personal is better said there. Every
request is on the record before anything leaves.
"""

from __future__ import annotations

import asyncio
import base64
import binascii
import struct
from collections.abc import AsyncGenerator
from contextlib import aclosing, suppress
from dataclasses import fields, replace
from typing import Annotated, Any, Literal

import msgspec
from fastapi import APIRouter, Depends, Query, Request, Response

from grantledger.adapters.bootstrap.audit_reading import (
    POLL_SECONDS,
    Reading,
    admitted,
    position_of,
    position_text,
)
from grantledger.adapters.http.exporting import rows_file
from grantledger.adapters.http.guarding import told
from grantledger.adapters.http.management import audit_models as models
from grantledger.adapters.http.management.asking import (
    Calling,
    body_of,
    body_schema,
)
from grantledger.adapters.http.negotiating import preferred
from grantledger.adapters.http.service import Service
from grantledger.adapters.http.streams import Streamed
from grantledger.domain.audit import (
    OF_EVENT,
    AuditFilter,
    AuditPosition,
    AuditRow,
)
from grantledger.domain.audit_access import AuditUse
from grantledger.domain.errors import GrantledgerError, InvalidRequest
from grantledger.domain.requests import Caller
from grantledger.domain.values import TokenFingerprint
from grantledger.projections.exports.formats import MEDIA_TYPES, ExportFormat
from grantledger.projections.exports.rows import row_data, row_line

PATH = "/v1/audit"
JSON, SSE = "application/json", "text/event-stream"
HEARTBEAT_SECONDS = 15.0
RETRY = b"retry: 3000\n\n"
_CURSOR = struct.Struct(">qiq")
_BY_TYPE: dict[str, ExportFormat | Literal["json", "events"]] = {
    JSON: "json",
    **{kind: form for form, kind in MEDIA_TYPES.items()},
    SSE: "events",
}
"""How each media type is answered, the one for who names none first."""
_CONTENT: dict[str, Any] = {
    **{kind.partition(";")[0]: {} for kind in _BY_TYPE},
    JSON: {"schema": {"$ref": "#/components/schemas/AuditPageOut"}},
    SSE: {"schema": {"type": "string"}},
}
_Body = Annotated[models.AuditAsked, Depends(body_of(models.AuditAsked))]


def add_to(router: APIRouter, service: Service) -> None:
    """Add both ways to ask."""
    auditing = Auditing(service)
    said_of: dict[int | str, dict[str, Any]] = {
        200: {"description": "What was asked for.", "content": _CONTENT}
    }

    @router.get(
        PATH,
        response_class=Response,
        responses=said_of,
        summary="Read the audit trail",
    )
    async def audit(
        request: Request, caller: Calling, said: Annotated[models.AuditAsked, Query()]
    ) -> Response:
        return await auditing.answer(request, caller, said)

    @router.post(
        PATH,
        response_class=Response,
        responses=said_of,
        summary="Read the audit trail, asked for in a body",
        openapi_extra=body_schema(models.AuditAsked, required=False),
    )
    async def audit_asked(request: Request, caller: Calling, said: _Body) -> Response:
        return await auditing.answer(request, caller, said)


class Auditing:
    """Answers for one service."""

    def __init__(self, service: Service) -> None:
        self._service = service
        self._broker = service.opened.broker

    async def answer(
        self, request: Request, caller: Caller, said: models.AuditAsked
    ) -> Response:
        """Answer in the form that is asked for."""
        accept = ",".join(request.headers.getlist("accept"))
        form = said.format or _BY_TYPE[preferred(accept, list(_BY_TYPE))]
        if form == "events":
            return await self._followed(request, caller, said)
        if isinstance(form, ExportFormat):
            return await self._exported(caller, said, form)
        return await self._page(caller, said)

    # -- a page

    async def _page(self, caller: Caller, said: models.AuditAsked) -> Response:
        wanted = filter_of(said)
        after = None
        if said.cursor is not None:
            after, below = _place(said.cursor)
            # What was recorded since the first page, this reading too, is no part of
            # the answer: it would have no end.
            below = below if wanted.below is None else min(below, wanted.below)
            wanted = replace(wanted, below=below)
        reading = await admitted(self._broker, caller, AuditUse.READ, wanted, "a page")
        page = await reading.page(after, said.limit)
        below = page.size if wanted.below is None else wanted.below
        data = {
            "rows": [row_data(row) for row in page.rows],
            "next": None if page.after is None else _cursor(page.after, below),
            "size": page.size,
            "complete": reading.complete and page.after is None,
        }
        return Response(msgspec.json.encode(data), media_type=JSON)

    # -- everything

    async def _exported(
        self, caller: Caller, said: models.AuditAsked, form: ExportFormat
    ) -> Response:
        _no_cursor(said)
        wanted = filter_of(said)
        reading = await admitted(
            self._broker, caller, AuditUse.EXPORT, wanted, str(form)
        )
        return await rows_file(reading.rows(), form, self._service.streams)

    # -- what comes

    async def _followed(
        self, request: Request, caller: Caller, said: models.AuditAsked
    ) -> Response:
        _no_cursor(said)
        wanted = filter_of(said)
        seen = request.headers.get("last-event-id")
        begin = position_of(seen or None, "last-event-id")
        if begin is None and wanted.recorded_from is not None:
            begin = AuditPosition(-1, OF_EVENT)
        reading = await admitted(
            self._broker, caller, AuditUse.FOLLOW, wanted, "followed"
        )
        streams = self._service.streams
        streams.take()
        return Streamed(
            self._events(reading, begin),
            streams,
            media_type=SSE,
            headers={"X-Accel-Buffering": "no"},
        )

    async def _events(
        self, reading: Reading, begin: AuditPosition | None
    ) -> AsyncGenerator[bytes]:
        """Yield events until the service stops; whoever asks again goes on from there.

        A heartbeat has an id and no data: it moves on what a client asks for again.
        """
        loop = asyncio.get_running_loop()
        draining = self._service.draining
        heard = loop.time()
        yield RETRY
        try:
            async with aclosing(reading.following(begin, self._rest)) as found:
                async for at, rows in found:
                    if draining.is_set():
                        return
                    if rows:
                        yield b"".join(map(_event, rows))
                    elif loop.time() - heard < HEARTBEAT_SECONDS:
                        continue
                    else:
                        yield b":\nid: %s\n\n" % position_text(at).encode()
                    heard = loop.time()
        except GrantledgerError as error:
            # The client comes again, and is told then if it still is so.
            told(error)

    async def _rest(self) -> bool:
        """Wait a moment; tell whether the service goes on."""
        draining = self._service.draining
        with suppress(TimeoutError):
            await asyncio.wait_for(draining.wait(), POLL_SECONDS)
        return not draining.is_set()


def _event(row: AuditRow) -> bytes:
    at = position_text(row.at).encode()
    return b"id: %s\nevent: audit\ndata: %s\n" % (at, row_line(row))


def filter_of(said: models.AuditAsked) -> AuditFilter:
    """Return the filter that a request says.

    Raises:
        InvalidRequest: names the field and its limit.
    """
    wanted = {one.name: getattr(said, one.name) for one in fields(AuditFilter)}
    mark = wanted.pop("fingerprint")
    return AuditFilter(
        **wanted, fingerprint=None if mark is None else TokenFingerprint(mark)
    )


def _no_cursor(said: models.AuditAsked) -> None:
    if said.cursor is not None:
        raise InvalidRequest("a cursor is of pages of JSON", "cursor")


def _cursor(after: AuditPosition, below: int) -> str:
    raw = _CURSOR.pack(after.leaf_index, after.entry, below)
    return base64.urlsafe_b64encode(raw).decode().rstrip("=")


def _place(cursor: str) -> tuple[AuditPosition, int]:
    """Return where a page begins, and below which leaf it ends.

    Raises:
        InvalidRequest: it is no cursor of ours.
    """
    try:
        padded = cursor + "=" * (-len(cursor) % 4)
        raw = base64.b64decode(padded, altchars=b"-_", validate=True)
        leaf_index, entry, below = _CURSOR.unpack(raw)
    except (ValueError, binascii.Error, struct.error):
        raise InvalidRequest("cursor is none that was given out", "cursor") from None
    if min(leaf_index, entry + 1, below) < 0:
        raise InvalidRequest("cursor is none that was given out", "cursor")
    return AuditPosition(leaf_index, entry), below
