"""One leaf of the log: what it says, and a proof that the browser checks by itself."""

from __future__ import annotations

import base64
import json
from collections.abc import Sequence
from dataclasses import fields

from starlette.responses import JSONResponse, Response
from starlette.routing import BaseRoute, Route

from grantledger.adapters.console.asking import index_of, position_of
from grantledger.adapters.console.rows import shown
from grantledger.adapters.console.visitors import ROOT, Console, Visit, visited
from grantledger.adapters.ledger.published_log import LoggedLeaf
from grantledger.domain.audit import (
    OF_EVENT,
    AuditFilter,
    AuditPosition,
    AuditRow,
    Fact,
)
from grantledger.domain.audit_access import AuditUse
from grantledger.domain.errors import InvalidRequest
from grantledger.domain.policy import Operation
from grantledger.projections.checkpoints import read_note, verifier_key

_ELSEWHERE = frozenset({"parent_fingerprint", "expires_at", "refresh_expires_at"})


def routes(console: Console) -> Sequence[BaseRoute]:
    """Return the routes."""
    return [
        Route(f"{ROOT}/leaf/{{place}}", visited(console, leaf), methods=["GET"]),
        Route(f"{ROOT}/proof/{{index}}", visited(console, proof), methods=["GET"]),
    ]


async def leaf(visit: Visit) -> Response:
    """Answer `GET /console/leaf/{index}.{entry}`.

    To whom some rows are hidden, what its row says, where that is theirs to see; the
    leaf itself may hold what is of others.
    """
    at = _place(visit.request.path_params["place"])
    whole = visit.sees_all(Operation.AUDIT)
    row = None
    if not whole:
        await visit.must(Operation.AUDIT)
        row = await _row(visit, at)
        if row is None or not visit.may(
            Operation.AUDIT, row.provider, row.subject or ""
        ):
            await visit.must_see_all(Operation.AUDIT)
    await visit.record(AuditUse.READ, f"leaf {at.leaf_index}")
    stored = await _stored(visit, at.leaf_index)
    row = row or await _row(visit, at)
    said = json.loads(stored.state) if stored.state and whole else None
    return visit.page(
        "leaf.html",
        f"Leaf {at.leaf_index}",
        at=at,
        whole=whole,
        one=None if row is None else shown(row),
        row=row,
        facts={} if row is None else _beside(row),
        hashed=stored.hashed.hex(),
        text=json.dumps(said, indent=2, ensure_ascii=False) if said else None,
        sealed=[] if said is None else said["sealed"],
    )


async def proof(visit: Visit) -> Response:
    """Answer `GET /console/proof/{index}`: what proves a leaf, for a script to check.

    Against the newest published checkpoint that covers it, else one signed now.
    """
    index = index_of(visit.request.path_params["index"], "leaf") or 0
    await visit.must_see_all(Operation.AUDIT)
    await visit.record(AuditUse.READ, f"proof of leaf {index}")
    stored = await _stored(visit, index)
    opened = visit.console.opened
    log = opened.ledger.published
    published = await log.newest(await opened.guard.origin())
    note = None
    if published is not None and published.size > index:
        note = published.text
    fresh = note is None
    note = note or await opened.guard.checkpoint()
    checkpoint = read_note(note.encode()).checkpoint
    hashes = await log.inclusion(index, checkpoint.size)
    return JSONResponse(
        {
            "index": index,
            "leaf": _text(stored.state) if stored.state else None,
            "leaf_hash": _text(stored.hashed),
            "hashes": [_text(one) for one in hashes],
            "checkpoint": note,
            "published": not fresh,
            "keys": [
                verifier_key(checkpoint.origin, public)
                for public in opened.guard.public_keys()
            ],
        }
    )


async def _stored(visit: Visit, index: int) -> LoggedLeaf:
    found = await visit.console.opened.ledger.published.leaves(index, index + 1)
    if not found:
        raise InvalidRequest(f"there is no leaf {index}", "leaf", missing=True)
    return found[0]


async def _row(visit: Visit, at: AuditPosition) -> AuditRow | None:
    """Return the row of a place, None where it was pruned."""
    before = AuditPosition(at.leaf_index, at.entry - 1)
    page = await visit.console.opened.ledger.audit(
        AuditFilter(below=at.leaf_index + 1), after=before, limit=1
    )
    return next((row for row in page.rows if row.at == at), None)


def _beside(row: AuditRow) -> dict[str, Fact]:
    """Return what the record says beside what has a place of its own on the page."""
    shown = {*_ELSEWHERE, *(field.name for field in fields(row))}
    return {name: value for name, value in row.facts.items() if name not in shown}


def _place(text: str) -> AuditPosition:
    found = position_of(text if "." in text else f"{text}.{OF_EVENT}")
    if found is None or found.leaf_index < 0:
        raise InvalidRequest("a leaf has an index, from 0 on", "leaf")
    return found


def _text(data: bytes) -> str:
    return base64.b64encode(data).decode()
