"""What a view shows, taken out with the same filters: rows, grants, and their rows.

One form of address for all: the fields of the view, and `format`. That it was asked for
is on the record before anything leaves, and takes a place among the long answers.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Mapping, Sequence
from dataclasses import fields, replace

import msgspec
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

from grantledger.adapters.console.asking import grants_asked, one_of, rows_asked, said
from grantledger.adapters.console.visitors import (
    GRANT_FORMATS,
    ROOT,
    ROW_FORMATS,
    Console,
    Visit,
    visited,
)
from grantledger.adapters.http.exporting import file_of, rows_file
from grantledger.adapters.http.shown import grant_data
from grantledger.domain.audit import AuditFilter, AuditPage
from grantledger.domain.audit_access import AuditUse
from grantledger.domain.errors import InvalidRequest
from grantledger.domain.fleet import GrantFilter
from grantledger.domain.policy import Operation
from grantledger.domain.user_grant import UserGrant
from grantledger.projections.exports.formats import MEDIA_TYPES, ExportFormat
from grantledger.projections.exports.grants_table import grants_header, grants_rows

_ENCODER = msgspec.json.Encoder()


def routes(console: Console) -> Sequence[BaseRoute]:
    """Return the routes."""
    return [
        Route(f"{ROOT}/export", visited(console, rows), methods=["GET"]),
        Route(f"{ROOT}/export/grants", visited(console, grants), methods=["GET"]),
        Route(
            f"{ROOT}/export/grants/rows",
            visited(console, rows_of_grants),
            methods=["GET"],
        ),
    ]


async def rows(visit: Visit) -> Response:
    """Answer `GET /console/export?format=csv&…`: the rows of a filtered view."""
    query = visit.request.query_params
    form = _form(query, ROW_FORMATS)
    wanted = rows_asked(query)
    reading = await visit.reading(AuditUse.EXPORT, wanted, f"export as {form}")
    return await rows_file(
        reading.rows(), form, visit.console.streams, _named("audit", form)
    )


async def grants(visit: Visit) -> Response:
    """Answer `GET /console/export/grants?format=csv&…`: what a list shows."""
    query = visit.request.query_params
    form = _form(query, GRANT_FORMATS)
    wanted = grants_asked(query)
    await visit.must(Operation.LIST)
    await visit.must(Operation.EXPORT)
    await visit.record(AuditUse.EXPORT, f"export as {form}: grants: {fields_of(query)}")
    plain = form is ExportFormat.CSV
    return await file_of(
        _grants(visit, wanted),
        _as_csv if plain else _as_line,
        visit.console.streams,
        begin=grants_header if plain else bytes,
        media_type=MEDIA_TYPES[form],
        headers=_named("grants", form),
    )


async def rows_of_grants(visit: Visit) -> Response:
    """Answer `GET /console/export/grants/rows?format=ocsf&…`: the rows of such grants.

    Grant by grant, each in the order of the log.
    """
    query = visit.request.query_params
    form = _form(query, ROW_FORMATS)
    wanted = grants_asked(query)
    await visit.must(Operation.LIST)
    # An empty page brings the trail up to the log; its size bounds every grant's rows.
    about = AuditFilter(provider=wanted.provider, subject=wanted.subject)
    reading = await visit.reading(
        AuditUse.EXPORT, about, f"export as {form}, of grants: {fields_of(query)}"
    )
    end = await reading.trail.audit(AuditFilter(below=0), limit=1)

    async def pages() -> AsyncGenerator[AuditPage]:
        async for grant in _grants(visit, wanted):
            of_it = replace(
                reading, wanted=AuditFilter(grant_id=grant.id, below=end.size)
            )
            async for page in of_it.rows():
                yield page

    return await rows_file(pages(), form, visit.console.streams, _named("audit", form))


def fields_of(query: Mapping[str, str]) -> str:
    """Return which fields of a list were asked for; their values may name people."""
    names = [one.name for one in fields(GrantFilter) if said(query, one.name)]
    return ", ".join(names) or "all"


async def _grants(visit: Visit, wanted: GrantFilter) -> AsyncGenerator[UserGrant]:
    """Yield those that are the visitor's to see, and to take out."""
    async for grant in visit.console.opened.ledger.each(wanted):
        state = grant.state
        if all(
            visit.may(operation, state.provider, state.subject)
            for operation in (Operation.LIST, Operation.EXPORT)
        ):
            yield grant


def _form(query: Mapping[str, str], known: Sequence[ExportFormat]) -> ExportFormat:
    form = one_of(ExportFormat, said(query, "format"), "format") or ExportFormat.CSV
    if form not in known:
        raise InvalidRequest(f"format is one of {', '.join(known)}", "format")
    return form


def _named(what: str, form: ExportFormat) -> Mapping[str, str]:
    kind = "csv" if form is ExportFormat.CSV else "ndjson"
    return {"Content-Disposition": f'attachment; filename="{what}.{form}.{kind}"'}


def _as_csv(grant: UserGrant) -> bytes:
    return grants_rows([grant])


def _as_line(grant: UserGrant) -> bytes:
    return _ENCODER.encode(grant_data(grant)) + b"\n"
