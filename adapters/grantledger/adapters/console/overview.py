"""The first page: is all well, what is owed, and what has happened in the last hour."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from datetime import datetime, timedelta

from markupsafe import Markup
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

from grantledger.adapters.bootstrap.ledgers import readings_of, spool_of
from grantledger.adapters.bootstrap.sampling import sampled
from grantledger.adapters.console.asking import past_of, said
from grantledger.adapters.console.visitors import ROOT, Console, Visit, visited
from grantledger.adapters.keys.signing import is_signed
from grantledger.adapters.ledger.log_memory import LogView
from grantledger.adapters.ledger.tallying import Activity
from grantledger.domain.audit import AuditFilter, AuditOutcome
from grantledger.domain.audit_access import AuditUse
from grantledger.domain.errors import Unavailable
from grantledger.domain.policy import Operation
from grantledger.domain.values import GrantStatus
from grantledger.projections.charts import Column, columns
from grantledger.projections.checkpoints import key_id, read_note

WINDOW = timedelta(hours=1)
INTERVAL = timedelta(minutes=1)
LATE = timedelta(minutes=5)
_STATUS = tuple(str(status) for status in GrantStatus)


def routes(console: Console) -> Sequence[BaseRoute]:
    """Return the route."""
    return [Route(ROOT, visited(console, overview), methods=["GET"])]


async def overview(visit: Visit) -> Response:
    """Answer `GET /console?at=…`."""
    opened = visit.console.opened
    query = visit.request.query_params
    at = past_of(said(query, "at"), "at", opened.clock.now())
    await visit.must(Operation.LIST)
    await visit.record(AuditUse.READ, "overview")
    now = at or opened.clock.now()
    view = await opened.ledger.log()
    refusal = opened.ledger.memory.refusal
    behind: str | None = None
    try:
        # An empty page brings the trail up to the log, if that is not long.
        await opened.ledger.audit(AuditFilter(below=0), limit=1)
    except Unavailable as error:
        behind = str(error)
    whole = visit.sees_all(Operation.LIST)
    activity = await opened.ledger.activity(now - WINDOW, now, INTERVAL)
    return visit.page(
        "overview.html",
        "Overview",
        at=at,
        now=now,
        ledger=opened.ledger.name,
        size=view.tree.size,
        root_hash=view.tree.root().hex(),
        appends=opened.ledger.appends,
        readings=readings_of(visit.console.settings).name,
        refusal=None if refusal is None else str(refusal),
        checkpoint=await _checkpoint(visit, view, now),
        whole=whole,
        # What is owed is of everybody's grants.
        sample=(
            await sampled(opened, spool_of(visit.console.settings)) if whole else None
        ),
        statuses=_STATUS,
        by_provider=[
            one
            for one in _by_provider(await opened.ledger.grants_by_status())
            if visit.sees_whole(Operation.LIST, one[0])
        ],
        behind=behind,
        since=activity.since if activity.since > now - WINDOW else None,
        charts=_charts(
            [
                one
                for one in activity.counts
                if visit.sees_whole(Operation.LIST, one.provider)
            ],
            now,
        ),
    )


async def _checkpoint(
    visit: Visit, view: LogView, now: datetime
) -> dict[str, object] | None:
    """Return the newest published checkpoint, checked; None where there is none."""
    opened = visit.console.opened
    origin = opened.guard.known(view).origin
    newest = await opened.ledger.published.newest(origin)
    if newest is None:
        return None
    note = read_note(newest.text.encode())
    signed = any(
        one.key_id == key_id(origin, public)
        and is_signed(public, note.signed, one.signature)
        for public in opened.guard.public_keys()
        for one in note.signatures
        if one.name == origin
    )
    return {
        "size": newest.size,
        "at": newest.at,
        "signed": signed,
        "late": view.tree.size > newest.size and now - newest.at > LATE,
        "cosigned": len(newest.cosignatures),
        "behind": max(0, view.tree.size - newest.size),
    }


def _by_provider(
    counts: dict[tuple[str, str], int],
) -> list[tuple[str, list[int], int]]:
    """Return (provider, number for each status, sum), by name."""
    providers = sorted({provider for provider, _ in counts})
    found: list[tuple[str, list[int], int]] = []
    for provider in providers:
        numbers = [counts.get((provider, status), 0) for status in _STATUS]
        found.append((provider, numbers, sum(numbers)))
    return found


def _charts(counts: Sequence[Activity], now: datetime) -> list[dict[str, object]]:
    """Return the pictures, each with its numbers for a table."""
    handed: Counter[datetime] = Counter()
    failed: dict[str, Counter[datetime]] = {}
    for one in counts:
        if one.event == "HandedOut":
            handed[one.at] += one.count
        if one.outcome in {AuditOutcome.FAILED, AuditOutcome.UNKNOWN}:
            failed.setdefault(one.provider or "the ledger", Counter())[one.at] += (
                one.count
            )
    first = (now - WINDOW).replace(second=0, microsecond=0)
    minutes = [first + number * INTERVAL for number in range(61)]
    charts = [_chart("Hand-outs per minute", handed, minutes, "column")]
    for provider in sorted(failed):
        title = f"Failures per minute, {provider}"
        charts.append(_chart(title, failed[provider], minutes, "column failed"))
    if not failed:
        title = "Failures per minute, all providers"
        charts.append(_chart(title, Counter(), minutes, "column failed"))
    return charts


def _chart(
    title: str, counts: Counter[datetime], minutes: Sequence[datetime], kind: str
) -> dict[str, object]:
    data = [Column(at, counts[at], f"{at:%H:%M} UTC: {counts[at]}") for at in minutes]
    return {
        "title": title,
        "sum": sum(counts.values()),
        # Made by us of numbers; the title is escaped.
        "picture": Markup(columns(title, data, kind)),  # noqa: S704 - see above
        "rows": [(at, counts[at]) for at in minutes if counts[at]],
    }
