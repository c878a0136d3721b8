"""The audit trail: every event and every hand-out, in the order of the log."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Sequence

from starlette.responses import Response, StreamingResponse
from starlette.routing import BaseRoute, Route

from grantledger.adapters.console.asking import (
    one_of,
    position_of,
    rows_asked,
    said,
    with_fields,
)
from grantledger.adapters.console.rows import shown_rows
from grantledger.adapters.console.visitors import ROOT, Console, Visit, visited
from grantledger.domain.audit import AuditOutcome
from grantledger.domain.audit_access import AuditUse
from grantledger.domain.policy import Operation
from grantledger.projections.exports.formats import MEDIA_TYPES, ExportFormat, writing

PAGE_SIZE = 50
_FORMATS = (ExportFormat.CSV, ExportFormat.NDJSON, ExportFormat.OCSF, ExportFormat.OTEL)
_OUTCOMES = tuple(str(outcome) for outcome in AuditOutcome)


def routes(console: Console) -> Sequence[BaseRoute]:
    """Return the route."""
    return [
        Route(f"{ROOT}/trail", visited(console, trail), methods=["GET"]),
        Route(f"{ROOT}/export", visited(console, export), methods=["GET"]),
    ]


async def trail(visit: Visit) -> Response:
    """Answer `GET /console/trail?event=…&after=…`."""
    query = visit.request.query_params
    wanted = rows_asked(query)
    after = position_of(said(query, "after"))
    reading = await visit.reading(AuditUse.READ, wanted, "trail")
    page = await reading.page(after, PAGE_SIZE)
    following = None
    if page.after is not None:
        place = f"{page.after.leaf_index}.{page.after.entry}"
        following = with_fields(query, after=place)
    return visit.page(
        "trail.html",
        "Audit trail",
        rows=shown_rows(page.rows),
        query=query,
        outcomes=_OUTCOMES,
        following=following,
        first=None if after is None else with_fields(query, after=None),
        size=page.size,
        complete=wanted.complete and visit.sees_all(Operation.AUDIT),
        exports=_FORMATS if visit.may(Operation.EXPORT) else (),
        kept=with_fields(query, after=None),
    )


async def export(visit: Visit) -> Response:
    """Answer `GET /console/export?format=csv&…`: the rows of a filtered view."""
    query = visit.request.query_params
    form = one_of(ExportFormat, said(query, "format"), "format") or ExportFormat.CSV
    wanted = rows_asked(query)
    reading = await visit.reading(AuditUse.EXPORT, wanted, f"export as {form}")
    writer = writing(form)

    async def body() -> AsyncGenerator[bytes]:
        yield writer.begin()
        async for page in reading.rows():
            yield writer.rows(page.rows)
        yield writer.end()

    kind = "csv" if form is ExportFormat.CSV else "ndjson"
    return StreamingResponse(
        body(),
        media_type=MEDIA_TYPES[form],
        headers={"Content-Disposition": f'attachment; filename="audit.{form}.{kind}"'},
    )
